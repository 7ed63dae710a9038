{#-
Grain: unit and day: an enrolled unit was exposed to another variant than its first.
Identifiers: none; seen_before.sql is the relation seen_before.
Parameters: $exposures (files of the days), $enrolled (files of the units that they enrolled), $experiment, $known_by
    (timestamp in UTC).
Output: unit_id, enrolled_on (date), day (of the other exposure, date).
-#}
WITH enrolled AS (
    SELECT unit_id, variant, enrolled_on
    FROM seen_before
    {% if any_enrolled -%}
    UNION ALL
    SELECT unit_id, variant, CAST(exposed_at AS DATE)
    FROM READ_PARQUET($enrolled, hive_partitioning = false)
    {%- endif %}
)
SELECT DISTINCT
    exposures.unit_id,
    enrolled.enrolled_on,
    CAST(exposures.exposed_at AS DATE) AS day
FROM READ_PARQUET($exposures, hive_partitioning = false) AS exposures
INNER JOIN enrolled
    ON enrolled.unit_id = exposures.unit_id
WHERE exposures.experiment = $experiment
    AND COALESCE(exposures.known_at <= $known_by, TRUE)
    AND exposures.variant <> enrolled.variant
ORDER BY 3, 2, 1
