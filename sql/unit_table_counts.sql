{#-
Grain: one row: what a unit-level table holds and lacks.
Identifiers: units (source), values (columns of metrics, covariates), texts (whether a unit may be an empty text).
Parameters: with exposed_at $as_of (timestamp in UTC; later units belong to a later night).
Output: units_found, null_units, null_variants, null_times and negative_times (before 1970), known_0, known_1, ... (units
    with a value, for each of values) (counts).
-#}
{%- set unit = units.unit | ident -%}
SELECT
    COUNT(*) AS units_found,
    COUNT(*) - COUNT({{ "NULLIF(CAST(" ~ unit ~ " AS VARCHAR), '')" if texts else unit }}) AS null_units,
    COUNT(*) - COUNT({{ units.variant | ident }}) AS null_variants,
    {% if units.exposed_at -%}
    {% set exposed_at = "CAST(" ~ units.exposed_at | ident ~ " AS TIMESTAMP)" -%}
    COUNT(*) - COUNT({{ units.exposed_at | ident }}) AS null_times,
    COUNT(*) FILTER (WHERE {{ exposed_at }} < TIMESTAMP '1970-01-01') AS negative_times
    {%- else -%}
    0 AS null_times,
    0 AS negative_times
    {%- endif %}
    {%- for value in values %},
    COUNT({{ value | ident }}) AS known_{{ loop.index0 }}
    {%- endfor %}
FROM {{ units.table | ident }}
{% if units.exposed_at -%}
WHERE COALESCE(CAST({{ units.exposed_at | ident }} AS TIMESTAMP) < $as_of, TRUE)
{%- endif %}
