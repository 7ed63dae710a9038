{#-
Grain: unit of some days' exposures: where it was enrolled before.
Identifiers: none.
Parameters: $exposures and $cohorts (files), $experiment.
Output: unit_id, variant, enrolled_on (date).
-#}
SELECT
    cohorts.unit_id,
    cohorts.variant,
    CAST(cohorts.exposed_at AS DATE) AS enrolled_on
FROM READ_PARQUET($cohorts, hive_partitioning = false) AS cohorts
SEMI JOIN (
    SELECT unit_id
    FROM READ_PARQUET($exposures, hive_partitioning = false)
    WHERE experiment = $experiment
) AS exposures
    ON exposures.unit_id = cohorts.unit_id
