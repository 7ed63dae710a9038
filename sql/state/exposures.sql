{#-
Grain: experiment, unit, variant, and the time a late row was loaded at: the first exposure of a day.
Identifiers: none; the rows of exposure_rows.sql are the relation incoming.
Parameters: $days and $first_known (lists: the first night that reads a day knows what was loaded by then).
Output: experiment, unit_id, variant, exposed_at (the first), known_at (null for rows that every night knows), rows_found
    (exposures), and their day (date).
-#}
WITH days AS (
    SELECT
        UNNEST($days) AS day,
        UNNEST($first_known) AS first_known
)
SELECT
    incoming.experiment,
    incoming.unit_id,
    incoming.variant,
    CASE WHEN incoming.loaded_at > days.first_known THEN incoming.loaded_at END AS known_at,
    MIN(incoming.exposed_at) AS exposed_at,
    COUNT(*) AS rows_found,
    days.day
FROM incoming
INNER JOIN days
    ON days.day = CAST(incoming.exposed_at AS DATE)
GROUP BY 1, 2, 3, 4, 7
ORDER BY 7, 1, 2, 5, 3, 4
