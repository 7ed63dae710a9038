{#-
Grain: experiment (null of an outcome source) and UTC day: rows that came since a night last looked, and what is wrong
    with them. Rows without a time are of the day null.
Identifiers: source (table, loaded_at), time (its column), experiment (its column, none of an outcome source).
Parameters: $seen_by, $known_by (rows loaded after the one and up to the other) where the source has a load time, else
    $from_at (rows from then on, and those before 1970) (timestamps in UTC).
Output: experiment, day, rows_found, null_times, negative_times (before 1970), future_times (after the row was loaded or,
    without a load time, after now: only what is refused depends on the clock, never a number), null_loads (a row without
    its declared load time belongs to no night) (counts).
-#}
{%- set at = "CAST(" ~ time | ident ~ " AS TIMESTAMP)" -%}
{%- set named = "CAST(" ~ experiment | ident ~ " AS VARCHAR)" if experiment else "CAST(NULL AS VARCHAR)" -%}
{%- set loaded_at = "CAST(" ~ source.loaded_at | ident ~ " AS TIMESTAMP)" if source.loaded_at else "CAST(NOW() AS TIMESTAMP)" -%}
SELECT
    {{ named }} AS experiment,
    CAST({{ at }} AS DATE) AS day,
    COUNT(*) AS rows_found,
    COUNT(*) FILTER (WHERE {{ at }} IS NULL) AS null_times,
    COUNT(*) FILTER (WHERE {{ at }} < TIMESTAMP '1970-01-01') AS negative_times,
    COUNT(*) FILTER (WHERE {{ at }} > {{ loaded_at }}) AS future_times,
    0 AS null_loads
FROM {{ source.table | ident }}
{% if source.loaded_at -%}
WHERE {{ loaded_at }} > $seen_by
    AND {{ loaded_at }} <= $known_by
GROUP BY 1, 2
UNION ALL
SELECT
    {{ named }} AS experiment,
    CAST(NULL AS DATE) AS day,
    0 AS rows_found,
    0 AS null_times,
    0 AS negative_times,
    0 AS future_times,
    COUNT(*) AS null_loads
FROM {{ source.table | ident }}
WHERE {{ source.loaded_at | ident }} IS NULL
GROUP BY 1
{%- else -%}
WHERE {{ at }} >= $from_at
    OR {{ at }} IS NULL
    OR {{ at }} < TIMESTAMP '1970-01-01'
GROUP BY 1, 2
{%- endif %}
ORDER BY 1, 2, 3
