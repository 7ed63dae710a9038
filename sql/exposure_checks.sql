{#-
Grain: one row: what is wrong with the exposures of the experiment.
Identifiers: exposures (source), variants (count).
Parameters: $experiment, $as_of, $known_by (timestamps in UTC), $variant_0, $variant_1, ... (the designed ones).
Output: exposures, null_units, null_variants, null_times, negative_times (before 1970), future_times (after the row was
    loaded or, without a load time, after now) (counts); unknown_variants (text, up to five names) and
    unknown_rows (count).
-#}
{%- set exposed_at = "CAST(" ~ exposures.exposed_at | ident ~ " AS TIMESTAMP)" -%}
{%- set unknown -%}
{{ exposures.variant | ident }} NOT IN ({% for _ in variants %}{{ ', ' if loop.index0 }}$variant_{{ loop.index0 }}{% endfor %})
{%- endset -%}
SELECT
    COUNT(*) AS exposures,
    COUNT_IF({{ exposures.unit | ident }} IS NULL OR CAST({{ exposures.unit | ident }} AS VARCHAR) = '') AS null_units,
    COUNT_IF({{ exposures.variant | ident }} IS NULL) AS null_variants,
    COUNT_IF({{ exposed_at }} IS NULL) AS null_times,
    COUNT_IF({{ exposed_at }} < TIMESTAMP '1970-01-01') AS negative_times,
    {% if exposures.loaded_at -%}
    COUNT_IF({{ exposed_at }} > CAST({{ exposures.loaded_at | ident }} AS TIMESTAMP)) AS future_times,
    {%- else -%}
    COUNT_IF({{ exposed_at }} > CAST(NOW() AS TIMESTAMP)) AS future_times,
    {%- endif %}
    COUNT_IF({{ unknown }}) AS unknown_rows,
    STRING_AGG(DISTINCT CASE WHEN {{ unknown }} THEN {{ exposures.variant | ident }} END, ', ') AS unknown_variants
FROM {{ exposures.table | ident }}
WHERE {{ exposures.experiment | ident }} = $experiment
    AND ({{ exposed_at }} < $as_of OR {{ exposed_at }} IS NULL OR {{ exposed_at }} > CAST(NOW() AS TIMESTAMP))
    {% if exposures.loaded_at -%}
    AND CAST({{ exposures.loaded_at | ident }} AS TIMESTAMP) <= $known_by
    {%- endif %}
