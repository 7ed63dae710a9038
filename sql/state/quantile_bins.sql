{#-
Grain: variant, crossover, exposed_on and bin: the values of one quantile metric over the units of some cohorts that are
    mature for it.
Identifiers: metric, window and measure (of the plan of abtest_lib/measures.py), key (of the measure), place (the number
    of the source's sums and of the window there), any_crossed, any_events (whether there are files of each), width and
    offset.
Parameters: $units and $crossed (files), $before (units exposed later are not mature); of a quantile of events $events
    (files), $known_by and $filter_..._0, ... (of the measure).
Output: as bins_of_values.sql.
-#}
WITH units_in_cells AS (
    SELECT
        unit_id,
        variant,
        exposed_at,
        exposed_on,
        {{ 'unit_id IN (SELECT unit_id FROM READ_PARQUET($crossed, hive_partitioning = false))' if any_crossed else 'FALSE' }} AS crossover
    FROM READ_PARQUET($units, hive_partitioning = false)
    WHERE exposed_at < $before
),
{% if not metric.is_of_events -%}
unit_totals AS (
    SELECT
        unit_id,
        rows_{{ key }} AS rows_found,
        values_{{ key }} AS values_found,
        sum_{{ key }} AS total
    FROM unit_sums_{{ place[0] }}
    WHERE number = {{ place[1] }}
),
{% elif any_events -%}
window_events AS (
    SELECT
        units_in_cells.unit_id,
        units_in_cells.variant,
        units_in_cells.crossover,
        units_in_cells.exposed_on,
        events.{{ ('value_' ~ measure.value) | ident }} AS amount
    FROM READ_PARQUET($events, hive_partitioning = false) AS events
    INNER JOIN units_in_cells
        ON units_in_cells.unit_id = events.unit_id
    WHERE events.occurred_at >= units_in_cells.exposed_at + INTERVAL '{{ window.delay_days | int }}' DAY
        AND events.occurred_at < units_in_cells.exposed_at + INTERVAL '{{ window.delay_days + window.window_days }}' DAY
        AND COALESCE(events.loaded_at <= $known_by, TRUE)
        {% for column, _ in measure.where -%}
        AND events.{{ ('filter_' ~ column) | ident }} = $filter_{{ key }}_{{ loop.index0 }}
        {% endfor %}
),
{% else -%}
window_events AS (
    SELECT
        unit_id,
        variant,
        crossover,
        exposed_on,
        CAST(NULL AS DOUBLE) AS amount
    FROM units_in_cells
    WHERE FALSE
),
{% endif -%}
{% include 'unit_events.sql' %},
{% include 'bins_of_values.sql' %}
