{#-
Grain: one row: what is in an attribute source.
Identifiers: covariates (columns).
Parameters: $file (of attributes.sql).
Output: units_found, rows_found, not_finite (counts), digest (text).
-#}
SELECT
    COUNT(DISTINCT unit_id) AS units_found,
    COUNT(*) AS rows_found,
    {% for covariate in covariates -%}
    COUNT(*) FILTER (WHERE NOT ISFINITE({{ ('covariate_' ~ covariate) | ident }})) +
    {%- endfor %} 0 AS not_finite,
    CAST(SUM(CAST(HASH(attributes) AS HUGEINT)) AS VARCHAR) AS digest
FROM READ_PARQUET($file, hive_partitioning = false) AS attributes
