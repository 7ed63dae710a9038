{#-
Grain: one row: what is in an attribute source.
Identifiers: covariates (columns), history (whether a unit has a row for each time from which something is known of it).
Parameters: $file (of attributes.sql).
Output: units_found (of a history with their times), rows_found, null_times, not_finite (counts), digest (text).
-#}
SELECT
    COUNT(DISTINCT {{ 'ROW(unit_id, known_from)' if history else 'unit_id' }}) AS units_found,
    {{ 'COUNT(*) - COUNT(known_from)' if history else '0' }} AS null_times,
    COUNT(*) AS rows_found,
    {% for covariate in covariates -%}
    COUNT(*) FILTER (WHERE NOT ISFINITE({{ ('covariate_' ~ covariate) | ident }})) +
    {%- endfor %} 0 AS not_finite,
    CAST(SUM(CAST(HASH(attributes) AS HUGEINT)) AS VARCHAR) AS digest
FROM READ_PARQUET($file, hive_partitioning = false) AS attributes
