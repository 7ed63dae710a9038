{#-
Grain: variant, exclusion and in_dates: units as they were assigned, whether or not they are counted.
Identifiers: exposures (source), exclusions (sources).
Parameters: those of exposed_units.sql, $starts_at, $ends_at (timestamps in UTC).
Output: variant, exclusion (number of the first source that names the unit, -1 when none does), in_dates (first exposure
    within the enrolment), units (count).
-#}
WITH {% include 'exposed_units.sql' %}
SELECT
    variant,
    {{ 'exclusion' if exclusions else '-1 AS exclusion' }},
    exposed_at >= $starts_at AND exposed_at < $ends_at AS in_dates,
    COUNT(*) AS units
FROM exposed_units
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
