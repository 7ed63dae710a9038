{#-
Grain: segment and its value, variant, crossover and exposed_on: the moments of metrics over units that are mature for
    them, from the raw tables. The rows of one segment add up to those without one.
Identifiers: those of the fragments exposed_units.sql and units_in_cells.sql, sources (outcomes by name), windows and columns
    (the plan of abtest_lib/measures.py).
Parameters: those of the fragments exposed_units.sql and units_in_cells.sql, $known_by_window_0, ... (of each window's
    source), $where_... (filters), $until_window_0, ... (of open windows: their end, a timestamp in UTC).
Output: as unit_cells.sql.
-#}
WITH {% include 'exposed_units.sql' %},
{% include 'units_in_cells.sql' %},
{% for window in windows -%}
{% set source = sources[window.source] -%}
{% set occurred_at = "CAST(" ~ ("outcomes." ~ source.occurred_at) | ident ~ " AS TIMESTAMP)" -%}
{{ window.name }} AS (
    SELECT
        {% for measure in window.measures -%}
        {% set passing -%}
        {% for column, _ in measure.where -%}
        {{ ' AND ' if loop.index0 }}{{ ('outcomes.' ~ column) | ident }} = ${{ parameter(window, measure, loop.index0) }}
        {%- endfor %}
        {%- endset -%}
        {% set filter = ' FILTER (WHERE ' ~ passing ~ ')' if measure.where else '' -%}
        COUNT(*){{ filter }} AS rows_{{ measure.number }},
        {% if measure.value -%}
        {% set value = "CAST(" ~ ("outcomes." ~ measure.value) | ident ~ " AS DOUBLE)" -%}
        COUNT({{ value }}){{ filter }} AS values_{{ measure.number }},
        SUM({{ value }}){{ filter }} AS sum_{{ measure.number }},
        {% endif -%}
        {% endfor -%}
        units_in_cells.unit_id
    FROM units_in_cells
    INNER JOIN {{ source.table | ident }} AS outcomes
        ON CAST({{ ('outcomes.' ~ source.unit) | ident }} AS VARCHAR) = units_in_cells.unit_id
        AND {{ occurred_at }} >= units_in_cells.exposed_at + INTERVAL '{{ window.delay_days | int }}' DAY
        AND {{ occurred_at }} < {% if window.until %}$until_{{ window.name }}{% else %}units_in_cells.exposed_at + INTERVAL '{{ window.delay_days + window.window_days }}' DAY{% endif %}
    WHERE {{ occurred_at }} < $as_of
        {% if source.loaded_at -%}
        AND CAST({{ ('outcomes.' ~ source.loaded_at) | ident }} AS TIMESTAMP) <= $known_by_{{ window.name }}
        {%- endif %}
    GROUP BY units_in_cells.unit_id
),
{% endfor -%}
{% include 'unit_cells.sql' %}
