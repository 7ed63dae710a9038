{#-
Grain: enrolled unit that was activated: its first event of a kind from its first exposure on.
Identifiers: activation (metric), any_events.
Parameters: $units (files of enrolled.sql), $events (files), $known_by (timestamp in UTC), $activated_0, ... (its filter).
Output: unit_id, variant, assigned_at (first exposure), exposed_at (activation), day (of the first exposure, date).
-#}
SELECT
    units.unit_id,
    units.variant,
    units.exposed_at AS assigned_at,
    MIN(events.occurred_at) AS exposed_at,
    CAST(units.exposed_at AS DATE) AS day
FROM READ_PARQUET($units, hive_partitioning = false) AS units
INNER JOIN READ_PARQUET($events, hive_partitioning = false) AS events
    ON events.unit_id = units.unit_id
    AND events.occurred_at >= units.exposed_at
    AND events.occurred_at < units.exposed_at + INTERVAL '{{ activation.window_days | int }}' DAY
WHERE COALESCE(events.loaded_at <= $known_by, TRUE)
    {%- for column, _ in activation.where %}
    AND events.{{ ('filter_' ~ column) | ident }} = $activated_{{ loop.index0 }}
    {%- endfor %}
GROUP BY 1, 2, 3
ORDER BY 5, 1
