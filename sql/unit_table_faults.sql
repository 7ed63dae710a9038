{#-
Grain: one row: values of a unit-level table that no mean can be taken of.
Identifiers: units (source), numbers (columns that must be finite).
Parameters: with exposed_at $as_of (timestamp in UTC).
Output: not_finite_0, not_finite_1, ... (NaN or infinite, for each of numbers) (counts).
-#}
SELECT
    {% for number in numbers -%}
    {#- Engines that know NaN order it above every number. -#}
    COUNT(*) FILTER (WHERE ABS(CAST({{ number | ident }} AS DOUBLE)) > 1.7976931348623157E308) AS not_finite_{{ loop.index0 }}
    {{- ',' if not loop.last }}
    {% endfor %}
FROM {{ units.table | ident }}
{% if units.exposed_at -%}
WHERE CAST({{ units.exposed_at | ident }} AS TIMESTAMP) < $as_of
{%- endif %}
