{#-
Grain: variant: units with events after their exposure, and those of them with one that came after the lag.
Identifiers: none.
Parameters: $units and $events (files), $lag_days (whole days), $known_by (timestamp in UTC).
Output: variant, units_found, late_units (counts).
-#}
WITH unit_rows AS (
    SELECT
        units.unit_id,
        units.variant,
        BOOL_OR(events.loaded_at > events.occurred_at + TO_DAYS(CAST($lag_days AS INTEGER))) AS has_late
    FROM READ_PARQUET($units, hive_partitioning = false) AS units
    JOIN READ_PARQUET($events, hive_partitioning = false) AS events
        ON events.unit_id = units.unit_id
        AND events.occurred_at >= units.exposed_at
    WHERE events.loaded_at <= $known_by
    GROUP BY 1, 2
)
SELECT
    variant,
    COUNT(*) AS units_found,
    COUNT(*) FILTER (WHERE has_late) AS late_units
FROM unit_rows
GROUP BY 1
ORDER BY 1
