{#-
Grain: variant, crossover, in_dates, exposed_on: how many units were exposed.
Identifiers: exposures (source).
Parameters: $experiment, $as_of, $known_by, $starts_at, $ends_at (timestamps in UTC).
Output: variant, crossover, in_dates (first exposure within the enrolment), exposed_on (date), units (count).
-#}
WITH {% include 'exposed_units.sql' %}
SELECT
    variant,
    crossover,
    exposed_at >= $starts_at AND exposed_at < $ends_at AS in_dates,
    CAST(exposed_at AS DATE) AS exposed_on,
    COUNT(*) AS units
FROM exposed_units
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
