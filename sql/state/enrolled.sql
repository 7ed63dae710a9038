{#-
Grain: unit that was not enrolled before: its first exposure, in the first variant by name where two are at the same time.
Identifiers: none; seen_before.sql is the relation seen_before.
Parameters: $exposures (files of the days), $experiment, $known_by (timestamp in UTC).
Output: unit_id, variant, exposed_at, day (date).
-#}
SELECT
    unit_id,
    MIN(variant) AS variant,
    ANY_VALUE(exposed_at) AS exposed_at,
    CAST(ANY_VALUE(exposed_at) AS DATE) AS day
FROM (
    SELECT
        unit_id,
        variant,
        exposed_at,
        RANK() OVER (PARTITION BY unit_id ORDER BY exposed_at) AS place
    FROM READ_PARQUET($exposures, hive_partitioning = false) AS exposures
    WHERE experiment = $experiment
        AND COALESCE(known_at <= $known_by, TRUE)
        AND unit_id NOT IN (SELECT unit_id FROM seen_before)
) AS ranked
WHERE place = 1
GROUP BY 1
ORDER BY 4, 1
