{#-
Grain: segment and its value, variant and crossover: units of one cohort.
Identifiers: segments (source, column), any_crossed.
Parameters: $file (of units_in_cells), $crossed (files).
Output: segment (number, -1 for all units), value (text), variant, crossover, units (count).
-#}
WITH units_in_cells AS (
    SELECT
        *,
        {{ 'unit_id IN (SELECT unit_id FROM READ_PARQUET($crossed, hive_partitioning = false))' if any_crossed else 'FALSE' }} AS crossover
    FROM READ_PARQUET($file, hive_partitioning = false)
)
{% for segment in [none] + (segments | list) -%}
SELECT
    {{ loop.index0 - 1 }} AS segment,
    {{ 'segment_' ~ (loop.index0 - 1) if segment else 'CAST(NULL AS VARCHAR)' }} AS value,
    variant,
    crossover,
    COUNT(*) AS units
FROM units_in_cells
GROUP BY 1, 2, 3, 4
{% if not loop.last %}UNION ALL
{% endif -%}
{% endfor -%}
ORDER BY 1, 2, 3, 4
