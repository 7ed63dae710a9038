{#-
Grain: segment and its value, variant, crossover and exposed_on: the moments of metrics over the units of some cohorts that
    are mature for them.
Identifiers: windows and columns (the plan of abtest_lib/measures.py), segments, covariates, keys (of the measures of each
    window by number), places (of each window: the number of its source's sums and its number there), any_crossed.
Parameters: $units and $crossed (files), $before (units exposed later are not mature).
Output: as unit_cells.sql.
-#}
WITH units_in_cells AS (
    SELECT
        *,
        {{ 'unit_id IN (SELECT unit_id FROM READ_PARQUET($crossed, hive_partitioning = false))' if any_crossed else 'FALSE' }} AS crossover
    FROM READ_PARQUET($units, hive_partitioning = false)
    WHERE exposed_at < $before
),
{% for window in windows -%}
{{ window.name }} AS (
    SELECT
        {% for measure in window.measures -%}
        {% set key = keys[window.name][measure.number] -%}
        rows_{{ key }} AS rows_{{ measure.number }},
        {% if measure.value -%}
        values_{{ key }} AS values_{{ measure.number }},
        sum_{{ key }} AS sum_{{ measure.number }},
        {% endif -%}
        {% endfor -%}
        unit_id
    FROM unit_sums_{{ places[window.name][0] }}
    WHERE number = {{ places[window.name][1] }}
),
{% endfor -%}
{% include 'unit_cells.sql' %}
