{#-
Grain: day and days_late: how late the events of a source came.
Identifiers: none.
Parameters: $files (events), $known_by (timestamp in UTC).
Output: day (date), days_late (whole days, begun ones count: 1 for a row of half a day; 0 for none), rows_found (count).
-#}
SELECT
    CAST(occurred_at AS DATE) AS day,
    CAST(CEIL(DATE_DIFF('microsecond', occurred_at, loaded_at) / 86400000000.0) AS INTEGER) AS days_late,
    COUNT(*) AS rows_found
FROM READ_PARQUET($files, hive_partitioning = false)
WHERE loaded_at <= $known_by
    AND unit_id IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
