{#-
Grain: one row: what is wrong with the rows of an outcome source that the night may read.
Identifiers: source, values (the columns that metrics average or add up).
Parameters: $known_by where the source has a load time, $starts_at and $as_of where there are values (timestamps in UTC).
Output: outcomes, null_units, null_times, negative_times (before 1970), future_times (after the row was loaded or,
    without a load time, after now), not_finite_0, not_finite_1, ... (NaN or infinite between the two, for each of
    values), null_loads (a row without its declared load time belongs to no night) (counts).
-#}
{%- set occurred_at = "CAST(" ~ source.occurred_at | ident ~ " AS TIMESTAMP)" -%}
SELECT
    COUNT(*) AS outcomes,
    COUNT(*) FILTER (WHERE {{ source.unit | ident }} IS NULL OR CAST({{ source.unit | ident }} AS VARCHAR) = '') AS null_units,
    COUNT(*) FILTER (WHERE {{ occurred_at }} IS NULL) AS null_times,
    COUNT(*) FILTER (WHERE {{ occurred_at }} < TIMESTAMP '1970-01-01') AS negative_times,
    {% for value in values -%}
    COUNT(*) FILTER (
        WHERE ABS(CAST({{ value | ident }} AS DOUBLE)) > 1.7976931348623157E308
            AND {{ occurred_at }} >= $starts_at
            AND {{ occurred_at }} < $as_of
    ) AS not_finite_{{ loop.index0 }},
    {% endfor -%}
    {% if source.loaded_at -%}
    COUNT(*) FILTER (WHERE {{ occurred_at }} > CAST({{ source.loaded_at | ident }} AS TIMESTAMP)) AS future_times,
    COUNT(*) FILTER (WHERE {{ source.loaded_at | ident }} IS NULL) AS null_loads
    {%- else -%}
    COUNT(*) FILTER (WHERE {{ occurred_at }} > CAST(NOW() AS TIMESTAMP)) AS future_times,
    0 AS null_loads
    {%- endif %}
FROM {{ source.table | ident }}
{% if source.loaded_at -%}
WHERE COALESCE(CAST({{ source.loaded_at | ident }} AS TIMESTAMP) <= $known_by, TRUE)
{%- endif %}
