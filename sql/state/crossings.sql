{#-
Grain: day of enrolment: its units that were seen in another variant.
Identifiers: none.
Parameters: $crossed (files).
Output: enrolled_on (date), digest (text).
-#}
SELECT
    enrolled_on,
    CAST(SUM(CAST(HASH(unit_id) AS HUGEINT)) AS VARCHAR) AS digest
FROM (
    SELECT DISTINCT
        unit_id,
        enrolled_on
    FROM READ_PARQUET($crossed, hive_partitioning = false)
) AS crossed_units
GROUP BY 1
ORDER BY 1
