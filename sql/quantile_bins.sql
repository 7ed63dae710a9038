{#-
Grain: variant, crossover, exposed_on and bin: the values of one quantile metric over units that are mature for it, from
    the raw tables.
Identifiers: those of the fragments exposed_units.sql and units_in_cells.sql, source (of outcomes), window, measure and
    metric (of the plan of abtest_lib/measures.py), width and offset.
Parameters: those of the fragments exposed_units.sql and units_in_cells.sql, $known_by_window_0 (of the source),
    $where_... (filters).
Output: as bins_of_values.sql.
-#}
{%- set occurred_at = "CAST(" ~ ("outcomes." ~ source.occurred_at) | ident ~ " AS TIMESTAMP)" -%}
WITH {% include 'exposed_units.sql' %},
{% include 'units_in_cells.sql' %},
window_events AS (
    SELECT
        units_in_cells.unit_id,
        units_in_cells.variant,
        units_in_cells.crossover,
        units_in_cells.exposed_on,
        CAST({{ ('outcomes.' ~ measure.value) | ident }} AS DOUBLE) AS amount
    FROM units_in_cells
    INNER JOIN {{ source.table | ident }} AS outcomes
        ON CAST({{ ('outcomes.' ~ source.unit) | ident }} AS VARCHAR) = units_in_cells.unit_id
        AND {{ occurred_at }} >= units_in_cells.exposed_at + INTERVAL '{{ window.delay_days | int }}' DAY
        AND {{ occurred_at }} < units_in_cells.exposed_at + INTERVAL '{{ window.delay_days + window.window_days }}' DAY
    WHERE {{ occurred_at }} < $as_of
        {% if source.loaded_at -%}
        AND CAST({{ ('outcomes.' ~ source.loaded_at) | ident }} AS TIMESTAMP) <= $known_by_{{ window.name }}
        {%- endif %}
        {% for column, _ in measure.where -%}
        AND {{ ('outcomes.' ~ column) | ident }} = ${{ parameter(window, measure, loop.index0) }}
        {% endfor %}
),
{% if not metric.is_of_events -%}
unit_totals AS (
    SELECT
        unit_id,
        COUNT(*) AS rows_found,
        COUNT(amount) AS values_found,
        SUM(amount) AS total
    FROM window_events
    GROUP BY unit_id
),
{% endif -%}
{% include 'unit_events.sql' %},
{% include 'bins_of_values.sql' %}
