{#-
Grain: day, experiment and variant: what is in the exposures of a source.
Identifiers: none.
Parameters: $files (exposures).
Output: day (date), experiment, variant, units (rows of the file), exposures, without_unit (counts), last_known_at (null
    when every night knows them), digest (text: equal for the same rows in any order).
-#}
SELECT
    CAST(exposed_at AS DATE) AS day,
    experiment,
    variant,
    COUNT(*) AS units,
    CAST(SUM(rows_found) AS BIGINT) AS exposures,
    CAST(COALESCE(SUM(rows_found) FILTER (WHERE unit_id IS NULL OR unit_id = ''), 0) AS BIGINT) AS without_unit,
    MAX(known_at) AS last_known_at,
    CAST(SUM(CAST(HASH(unit_id, exposed_at, known_at) AS HUGEINT)) AS VARCHAR) AS digest
FROM READ_PARQUET($files, hive_partitioning = false) AS exposures
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
