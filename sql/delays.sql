{#-
Grain: UTC day: how late the rows of an outcome source came.
Identifiers: source (with a load time), lags (days to try).
Parameters: $known_by, $from_at, $before_at (timestamps in UTC: rows that occurred between).
Output: day (date), known_rows (counted), last_known_at (the last load time, in UTC), late_0, late_1, ... (loaded more than
    each of lags after they occurred).
-#}
{%- set occurred_at = "CAST(" ~ source.occurred_at | ident ~ " AS TIMESTAMP)" -%}
{%- set loaded_at = "CAST(" ~ source.loaded_at | ident ~ " AS TIMESTAMP)" -%}
SELECT
    CAST({{ occurred_at }} AS DATE) AS day,
    COUNT(*) AS known_rows,
    MAX({{ loaded_at }}) AS last_known_at
    {%- for days in lags %},
    COUNT(*) FILTER (WHERE {{ loaded_at }} > {{ occurred_at }} + INTERVAL '{{ days | int }}' DAY) AS late_{{ loop.index0 }}
    {%- endfor %}
FROM {{ source.table | ident }}
WHERE {{ occurred_at }} >= $from_at
    AND {{ occurred_at }} < $before_at
    AND {{ loaded_at }} <= $known_by
    AND {{ source.unit | ident }} IS NOT NULL
GROUP BY 1
ORDER BY 1
