{#-
Grain: enrolled unit that is counted, with all that it is grouped by.
Identifiers: segments and covariates (source, column), attributes (the sources of both by name), exclusions (names),
    activated (whether the cohorts are of activated.sql).
Parameters: $cohorts (files), $attribute_... (file of each source), $exclusion_... (file of each); with activated $days (of
    activation, dates; the others are left out).
Output: unit_id, variant, exposed_at, exposed_on and day (the same date), segment_0, ..., covariate_0, ... (both as known
    at first exposure where their source is a history).
-#}
{%- set assigned_at = 'cohorts.assigned_at' if activated else 'cohorts.exposed_at' -%}
SELECT
    cohorts.unit_id,
    cohorts.variant,
    cohorts.exposed_at,
    {% for segment in segments -%}
    COALESCE({{ ('attribute_' ~ segment.source ~ '.segment_' ~ segment.column) | ident }}, '(unknown)') AS segment_{{ loop.index0 }},
    {% endfor -%}
    {% for covariate in covariates -%}
    {{ ('attribute_' ~ covariate.source ~ '.covariate_' ~ covariate.column) | ident }} AS covariate_{{ loop.index0 }},
    {% endfor -%}
    CAST(cohorts.exposed_at AS DATE) AS exposed_on,
    CAST(cohorts.exposed_at AS DATE) AS day
FROM READ_PARQUET($cohorts, hive_partitioning = false) AS cohorts
{% for name, attribute in attributes.items() -%}
{{ 'ASOF ' if attribute.known_from }}LEFT JOIN READ_PARQUET($attribute_{{ name }}, hive_partitioning = false) AS {{ ('attribute_' ~ name) | ident }}
    ON {{ ('attribute_' ~ name ~ '.unit_id') | ident }} = cohorts.unit_id
    {%- if attribute.known_from %}
    AND {{ ('attribute_' ~ name ~ '.known_from') | ident }} <= {{ assigned_at }}
    {%- endif %}
{% endfor -%}
WHERE {{ 'LIST_CONTAINS($days, CAST(cohorts.exposed_at AS DATE))' if activated else 'TRUE' }}
    {%- for name in exclusions %}
    AND cohorts.unit_id NOT IN (SELECT unit_id FROM READ_PARQUET($exclusion_{{ name }}, hive_partitioning = false))
    {%- endfor %}
ORDER BY day, cohorts.unit_id
