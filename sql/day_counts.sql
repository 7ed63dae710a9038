{#-
Grain: UTC day: rows of an outcome source, as they were known when the day was complete: when its loader declared it, or
    without a load log so many hours after its end. Days without rows are missing.
Identifiers: source, columns (whose nulls are counted), log (the load log, or none), hours.
Parameters: $from_at, $before_at (timestamps in UTC: rows that occurred between), $known_by where the source has a load
    time, $source_name, $from_on, $before_on (the same days as dates) where it has one and there is a load log.
Output: day (date), known_rows, rows_without_unit, nulls_0, nulls_1, ... (for each of columns) (counts), last_loaded_at
    (timestamp in UTC, null without a load time).
-#}
{%- set occurred_at = "CAST(events." ~ source.occurred_at | ident ~ " AS TIMESTAMP)" -%}
{%- set unit = "events." ~ source.unit | ident -%}
{%- if source.loaded_at -%}
{%- set loaded_at = "CAST(events." ~ source.loaded_at | ident ~ " AS TIMESTAMP)" -%}
{%- endif -%}
{% if source.loaded_at and log -%}
WITH declared_days AS (
    SELECT
        CAST({{ log.data_on | ident }} AS DATE) AS declared_on,
        MIN(CAST({{ log.loaded_at | ident }} AS TIMESTAMP)) AS declared_at
    FROM {{ log.table | ident }}
    WHERE {{ log.source | ident }} = $source_name
        AND CAST({{ log.data_on | ident }} AS DATE) >= $from_on
        AND CAST({{ log.data_on | ident }} AS DATE) < $before_on
    GROUP BY 1
)
{% endif -%}
SELECT
    CAST({{ occurred_at }} AS DATE) AS day,
    COUNT(*) AS known_rows,
    COUNT(*) FILTER (WHERE {{ unit }} IS NULL OR CAST({{ unit }} AS VARCHAR) = '') AS rows_without_unit,
    {% for column in columns -%}
    COUNT(*) FILTER (WHERE events.{{ column | ident }} IS NULL) AS nulls_{{ loop.index0 }},
    {% endfor -%}
    {% if source.loaded_at %}MAX({{ loaded_at }}){% else %}CAST(NULL AS TIMESTAMP){% endif %} AS last_loaded_at
FROM {{ source.table | ident }} AS events
{% if source.loaded_at and log -%}
LEFT JOIN declared_days ON declared_days.declared_on = CAST({{ occurred_at }} AS DATE)
{% endif -%}
WHERE {{ occurred_at }} >= $from_at
    AND {{ occurred_at }} < $before_at
    {%- if source.loaded_at %}
    AND {{ loaded_at }} <= $known_by
    {%- if log %}
    AND {{ loaded_at }} <= COALESCE(declared_days.declared_at, $known_by)
    {%- else %}
    AND {{ loaded_at }} <= CAST(CAST({{ occurred_at }} AS DATE) AS TIMESTAMP) + INTERVAL '{{ hours + 24 }}' HOUR
    {%- endif %}
    {%- endif %}
GROUP BY 1
ORDER BY 1
