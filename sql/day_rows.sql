{#-
Grain: UTC day: the rows of a source that a night knows.
Identifiers: source (table, loaded_at), time (its column), experiment (its column, none of an outcome source).
Parameters: $from_at, $to_at, and $known_by where the source has a load time (timestamps in UTC).
Output: day (date), rows_found (count).
-#}
{%- set at = "CAST(" ~ time | ident ~ " AS TIMESTAMP)" -%}
SELECT
    CAST({{ at }} AS DATE) AS day,
    COUNT(*) AS rows_found
FROM {{ source.table | ident }}
WHERE {{ at }} >= $from_at
    AND {{ at }} < $to_at
    {%- if source.loaded_at %}
    AND CAST({{ source.loaded_at | ident }} AS TIMESTAMP) <= $known_by
    {%- endif %}
    {%- if experiment %}
    AND {{ experiment | ident }} IS NOT NULL
    {%- endif %}
GROUP BY 1
ORDER BY 1
