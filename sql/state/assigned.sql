{#-
Grain: day of first exposure, variant and exclusion: enrolled units, whether or not they are counted.
Identifiers: exclusions (names).
Parameters: $units (files of enrolled.sql), $exclusion_... (file of each).
Output: day (date), variant, exclusion (number of the first list that names the unit, -1 when none does), units (count).
-#}
SELECT
    CAST(units.exposed_at AS DATE) AS day,
    units.variant,
    CASE
        {%- for name in exclusions %}
        WHEN units.unit_id IN (SELECT unit_id FROM READ_PARQUET($exclusion_{{ name }}, hive_partitioning = false)) THEN {{ loop.index0 }}
        {%- endfor %}
        WHEN TRUE THEN -1
    END AS exclusion,
    COUNT(*) AS units
FROM READ_PARQUET($units, hive_partitioning = false) AS units
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
