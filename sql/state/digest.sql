{#-
Grain: one row.
Identifiers: none.
Parameters: $files.
Output: digest (text: equal for the same rows in any order).
-#}
SELECT CAST(SUM(CAST(HASH(kept_rows) AS HUGEINT)) AS VARCHAR) AS digest
FROM READ_PARQUET($files, hive_partitioning = false) AS kept_rows
