{#-
Grain: day: what is in the events of a source.
Identifiers: values (columns that metrics average or add up).
Parameters: $files (events), $known_by, $on_time_by (timestamps in UTC).
Output: day (date), rows_read, rows_without_unit, last_loaded_at (null without a load time), rows_on_time
    and units_on_time (an estimate), digest (text: equal for the
    same rows in any order), nulls_..., not_finite_... (of each of values) (counts).
-#}
SELECT
    CAST(occurred_at AS DATE) AS day,
    COUNT(*) AS rows_read,
    COUNT(*) FILTER (WHERE unit_id IS NULL OR unit_id = '') AS rows_without_unit,
    MAX(loaded_at) AS last_loaded_at,
    COUNT(*) FILTER (WHERE COALESCE(loaded_at <= $on_time_by, TRUE)) AS rows_on_time,
    APPROX_COUNT_DISTINCT(unit_id) FILTER (WHERE COALESCE(loaded_at <= $on_time_by, TRUE)) AS units_on_time,
    CAST(SUM(CAST(HASH(events) AS HUGEINT)) AS VARCHAR) AS digest
    {%- for value in values %},
    COUNT(*) - COUNT({{ ('value_' ~ value) | ident }}) AS {{ ('nulls_' ~ value) | ident }},
    COUNT(*) FILTER (WHERE NOT ISFINITE({{ ('value_' ~ value) | ident }})) AS {{ ('not_finite_' ~ value) | ident }}
    {%- endfor %}
FROM READ_PARQUET($files, hive_partitioning = false) AS events
WHERE COALESCE(loaded_at <= $known_by, TRUE)
GROUP BY 1
ORDER BY 1
