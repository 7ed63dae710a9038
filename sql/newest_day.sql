{#-
Grain: one row: rows of a source from the last day of data on, for a warehouse without a load log.
Identifiers: table, time (column).
Parameters: $day_at (timestamp in UTC: the start of the last day of data).
Output: rows_found (count); a later row too shows that the loader has passed the day.
-#}
SELECT COUNT(*) AS rows_found
FROM {{ table | ident }}
WHERE CAST({{ time | ident }} AS TIMESTAMP) >= $day_at
