{#-
Grain: variant that the assignment gives, variant found: units enrolled on some days.
Identifiers: assignment (see assignment.sql).
Parameters: $units (files of enrolled.sql).
Output: assigned (null where the assignment does not let the unit in), found, units (count).
-#}
{%- from 'assignment.sql' import positions, variant -%}
WITH positions AS (
    SELECT
        variant AS found,
        {{ positions(assignment, "unit_id") }}
    FROM READ_PARQUET($units, hive_partitioning = false) AS units
)
SELECT
    {{ variant(assignment) }} AS assigned,
    found,
    COUNT(*) AS units
FROM positions
GROUP BY 1, 2
ORDER BY 1, 2
