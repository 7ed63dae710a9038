{#-
Grain: window and unit that is due: sums of the events of one source in the unit's window.
Identifiers: due (numbers of the windows, with delay_days and window_days, or until where it is open), measures (of
    abtest_lib/measures.py, by key), any_events, any_sums (whether there are files of each).
Parameters: $units_0, ... (files of the cohorts that are due for each window), $before_0, ... (units exposed later are
    not), $events and $sums (files), $summed (days that sums are read of, but for those on which a window begins or ends),
    $known_by, $filter_..._0, ... (of the measures), $until_0, ... (of open windows: the day on which they end).
Output: number (of the window), unit_id, rows_..., values_... and sum_... of each measure.
-#}
WITH due_units AS (
    {% for window in due -%}
    SELECT
        {{ loop.index0 }} AS number,
        unit_id,
        exposed_at + INTERVAL '{{ window.delay_days | int }}' DAY AS starts_at,
        {% if window.until -%}
        CAST($until_{{ loop.index0 }} AS TIMESTAMP) AS ends_at
        {%- else -%}
        exposed_at + INTERVAL '{{ window.delay_days + window.window_days }}' DAY AS ends_at
        {%- endif %}
    FROM READ_PARQUET($units_{{ loop.index0 }}, hive_partitioning = false)
    WHERE exposed_at < $before_{{ loop.index0 }}
    {% if not loop.last %}UNION ALL
    {% endif -%}
    {% endfor %}
),
pieces AS (
    {% if any_events -%}
    SELECT
        due_units.number,
        events.occurred_at AS moment,
        {% for key, measure in measures.items() -%}
        {% set passing -%}
        {% for column, _ in measure.where %}{{ ' AND ' if loop.index0 }}events.{{ ('filter_' ~ column) | ident }} = $filter_{{ key }}_{{ loop.index0 }}{% endfor -%}
        {%- endset -%}
        {{ 'CASE WHEN ' ~ passing ~ ' THEN 1 ELSE 0 END' if measure.where else '1' }} AS rows_{{ key }},
        {% if measure.value -%}
        {% set value = 'events.' ~ ('value_' ~ measure.value) | ident -%}
        {% set value = 'CASE WHEN ' ~ passing ~ ' THEN ' ~ value ~ ' END' if measure.where else value -%}
        CASE WHEN {{ value }} IS NULL THEN 0 ELSE 1 END AS values_{{ key }},
        {{ value }} AS sum_{{ key }},
        {% endif -%}
        {% endfor -%}
        due_units.unit_id
    FROM READ_PARQUET($events, hive_partitioning = false) AS events
    INNER JOIN due_units
        ON due_units.unit_id = events.unit_id
    WHERE events.occurred_at >= due_units.starts_at
        AND events.occurred_at < due_units.ends_at
        AND COALESCE(events.loaded_at <= $known_by, TRUE)
        {% if any_sums -%}
        AND NOT (
            LIST_CONTAINS($summed, CAST(events.occurred_at AS DATE))
            AND CAST(events.occurred_at AS DATE) > CAST(due_units.starts_at AS DATE)
            AND CAST(events.occurred_at AS DATE) < CAST(due_units.ends_at AS DATE)
        )
        {%- endif %}
    {% endif -%}
    {% if any_events and any_sums %}UNION ALL
    {% endif -%}
    {% if any_sums -%}
    SELECT
        due_units.number,
        CAST(sums.day AS TIMESTAMP) AS moment,
        {% for key, measure in measures.items() -%}
        sums.rows_{{ key }},
        {% if measure.value -%}
        sums.values_{{ key }},
        sums.sum_{{ key }},
        {% endif -%}
        {% endfor -%}
        due_units.unit_id
    FROM READ_PARQUET($sums, hive_partitioning = false) AS sums
    INNER JOIN due_units
        ON due_units.unit_id = sums.unit_id
    WHERE sums.day > CAST(due_units.starts_at AS DATE)
        AND sums.day < CAST(due_units.ends_at AS DATE)
        AND COALESCE(sums.known_at <= $known_by, TRUE)
    {%- endif %}
    {% if not any_events and not any_sums -%}
    SELECT
        number,
        starts_at AS moment,
        {% for key, measure in measures.items() -%}
        0 AS rows_{{ key }},
        {% if measure.value -%}
        0 AS values_{{ key }},
        CAST(NULL AS DOUBLE) AS sum_{{ key }},
        {% endif -%}
        {% endfor -%}
        unit_id
    FROM due_units
    WHERE FALSE
    {%- endif %}
)
SELECT
    number,
    {% for key, measure in measures.items() -%}
    CAST(SUM(rows_{{ key }}) AS BIGINT) AS rows_{{ key }},
    {% if measure.value -%}
    CAST(SUM(values_{{ key }}) AS BIGINT) AS values_{{ key }},
    SUM(sum_{{ key }}) AS sum_{{ key }},
    {% endif -%}
    {% endfor -%}
    unit_id
FROM (
    {#- Added up in one order, whichever files the rows are in, so that the same rows give the same digits. #}
    SELECT *
    FROM pieces
    ORDER BY moment{% for key, measure in measures.items() if measure.value %}, sum_{{ key }}{% endfor %}
) AS ordered_pieces
GROUP BY number, unit_id
