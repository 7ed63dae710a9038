{#-
Grain: variant that the assignment gives, variant found: units enrolled, whether or not they are counted.
Identifiers: exposures (source), exclusions (none), assignment (see assignment.sql).
Parameters: those of exposed_units.sql, $starts_at, $ends_at (timestamps in UTC).
Output: assigned (null where the assignment does not let the unit in), found, units (count).
-#}
{%- from 'assignment.sql' import positions, variant -%}
WITH {% include 'exposed_units.sql' %},
positions AS (
    SELECT
        variant AS found,
        {{ positions(assignment, "unit_id") }}
    FROM exposed_units
    WHERE exposed_at >= $starts_at
        AND exposed_at < $ends_at
)
SELECT
    {{ variant(assignment) }} AS assigned,
    found,
    COUNT(*) AS units
FROM positions
GROUP BY 1, 2
ORDER BY 1, 2
