{#-
Grain: segment and its value, variant, crossover, in_dates and exposed_on: how many units were exposed. The rows of one
    segment add up to those without one.
Identifiers: those of the fragments exposed_units.sql and units_in_cells.sql; covariates (none), matured (false).
Parameters: those of the fragments, $starts_at, $ends_at (timestamps in UTC).
Output: segment (number, -1 for all units), value (text, null for all units), variant, crossover, in_dates (first
    exposure within the enrolment), exposed_on (date), units (count).
-#}
WITH {% include 'exposed_units.sql' %},
{% include 'units_in_cells.sql' %}
{% for segment in [none] + (segments | list) -%}
{% set value = 'segment_' ~ (loop.index0 - 1) if segment else 'CAST(NULL AS VARCHAR)' -%}
SELECT
    {{ loop.index0 - 1 }} AS segment,
    {{ value }} AS value,
    variant,
    crossover,
    assigned_at >= $starts_at AND assigned_at < $ends_at AS in_dates,
    exposed_on,
    COUNT(*) AS units
FROM units_in_cells
GROUP BY 1, 2, 3, 4, 5, 6
{% if not loop.last %}UNION ALL
{% endif -%}
{% endfor -%}
ORDER BY 1, 2, 3, 4, 5, 6
