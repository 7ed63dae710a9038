{#-
Grain: unit, day, and the time a late row was loaded at: partial sums of the events of a source.
Identifiers: measures (of abtest_lib/measures.py, by key), values (all their columns).
Parameters: $files (events), $days and $first_known (lists: the first night that reads a day knows what was loaded by
    then), $filter_..._0, ... (of the measures).
Output: unit_id, day (date), known_at (null for rows that every night knows), rows_..., values_... and sum_... of each
    measure.
-#}
WITH days AS (
    SELECT
        UNNEST($days) AS day,
        UNNEST($first_known) AS first_known
)
SELECT
    events.unit_id,
    days.day,
    CASE WHEN events.loaded_at > days.first_known THEN events.loaded_at END AS known_at
    {%- for key, measure in measures.items() %}
    {%- set passing -%}
    {%- for column, _ in measure.where %}{{ ' AND ' if loop.index0 }}events.{{ ('filter_' ~ column) | ident }} = $filter_{{ key }}_{{ loop.index0 }}{% endfor -%}
    {%- endset -%}
    {%- set filter = ' FILTER (WHERE ' ~ passing ~ ')' if measure.where else '' %},
    COUNT(*){{ filter }} AS rows_{{ key }}
    {%- if measure.value %},
    COUNT(events.{{ ('value_' ~ measure.value) | ident }}){{ filter }} AS values_{{ key }},
    SUM(events.{{ ('value_' ~ measure.value) | ident }}){{ filter }} AS sum_{{ key }}
    {%- endif %}
    {%- endfor %}
FROM (
    {#- Added up in one order, whatever order the rows came in. #}
    SELECT *
    FROM READ_PARQUET($files, hive_partitioning = false)
    ORDER BY occurred_at{% for value in values %}, {{ ('value_' ~ value) | ident }}{% endfor %}
) AS events
INNER JOIN days
    ON days.day = CAST(events.occurred_at AS DATE)
WHERE events.unit_id IS NOT NULL
GROUP BY 1, 2, 3
