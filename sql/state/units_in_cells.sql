{#-
Grain: enrolled unit, with all that it is grouped by.
Identifiers: segments and covariates (source, column), attributes (names of the sources of both).
Parameters: $cohorts (files), $attribute_... (file of each source).
Output: unit_id, variant, exposed_at, exposed_on and day (the same date), segment_0, ..., covariate_0, ...
-#}
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
{% for name in attributes -%}
LEFT JOIN READ_PARQUET($attribute_{{ name }}, hive_partitioning = false) AS {{ ('attribute_' ~ name) | ident }}
    ON {{ ('attribute_' ~ name ~ '.unit_id') | ident }} = cohorts.unit_id
{% endfor -%}
ORDER BY day, cohorts.unit_id
