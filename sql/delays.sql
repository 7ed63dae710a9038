{#-
Grain: one row: how late the rows of an outcome source came that are old enough to judge a lag by.
Identifiers: source (with a load time), lag_days, longer (more days to try).
Parameters: $known_by, $from_at, $before_at (timestamps in UTC: rows that occurred between).
Output: known_rows (counted), late_rows (loaded more than lag_days after they occurred), late_0, late_1, ... (the same
    for each of longer).
-#}
{%- set occurred_at = "CAST(" ~ source.occurred_at | ident ~ " AS TIMESTAMP)" -%}
{%- set loaded_at = "CAST(" ~ source.loaded_at | ident ~ " AS TIMESTAMP)" -%}
SELECT
    COUNT(*) AS known_rows,
    COUNT(*) FILTER (WHERE {{ loaded_at }} > {{ occurred_at }} + INTERVAL '{{ lag_days | int }}' DAY) AS late_rows
    {%- for days in longer %},
    COUNT(*) FILTER (WHERE {{ loaded_at }} > {{ occurred_at }} + INTERVAL '{{ days | int }}' DAY) AS late_{{ loop.index0 }}
    {%- endfor %}
FROM {{ source.table | ident }}
WHERE {{ occurred_at }} >= $from_at
    AND {{ occurred_at }} < $before_at
    AND {{ loaded_at }} <= $known_by
    AND {{ source.unit | ident }} IS NOT NULL
