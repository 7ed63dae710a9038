{#-
Grain: variant, crossover, in_dates, exposed_on and the value of every segment: how many units were exposed.
Identifiers: exposures (source), segments (source, column), attributes (the sources by name of segments).
Parameters: $experiment, $as_of, $known_by, $starts_at, $ends_at (timestamps in UTC).
Output: variant, crossover, in_dates (first exposure within the enrolment), exposed_on (date),
    segment_0, segment_1, ... (text), units (count).
-#}
WITH {% include 'exposed_units.sql' %}
SELECT
    exposed_units.variant,
    exposed_units.crossover,
    exposed_units.exposed_at >= $starts_at AND exposed_units.exposed_at < $ends_at AS in_dates,
    CAST(exposed_units.exposed_at AS DATE) AS exposed_on,
    {% for segment in segments -%}
    COALESCE(CAST({{ ('attribute_' ~ segment.source ~ '.' ~ segment.column) | ident }} AS VARCHAR), '(unknown)') AS segment_{{ loop.index0 }},
    {% endfor -%}
    COUNT(*) AS units
FROM exposed_units
{% for name, attribute in attributes.items() -%}
LEFT JOIN {{ attribute.table | ident }} AS {{ ('attribute_' ~ name) | ident }}
    ON CAST({{ ('attribute_' ~ name ~ '.' ~ attribute.unit) | ident }} AS VARCHAR) = exposed_units.unit_id
{% endfor -%}
GROUP BY {{ range(1, 5 + segments | length) | join(", ") }}
ORDER BY {{ range(1, 5 + segments | length) | join(", ") }}
