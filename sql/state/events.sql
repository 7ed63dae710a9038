{#-
Grain: one row a row of an outcome source.
Identifiers: none; the rows of outcome_rows.sql are the relation incoming.
Parameters: $days (list of dates; the others are left out).
Output: those rows and their day (date).
-#}
SELECT
    *,
    CAST(occurred_at AS DATE) AS day
FROM incoming
WHERE CAST(occurred_at AS DATE) IN (SELECT UNNEST($days))
