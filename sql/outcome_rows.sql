{#-
Grain: one row a row of an outcome source, of the days between two times.
Identifiers: source, values (columns that metrics average or add up), filters (columns of metrics' row filters),
    late (only rows loaded after $seen_by).
Parameters: $from_at, $to_at, $known_by where the source has a load time, and with late $seen_by
    (timestamps in UTC).
Output: unit_id (text), occurred_at, loaded_at (null without a load time) (timestamps in UTC), value_... (double) and
    filter_... (as it is).
-#}
SELECT
    CAST({{ source.unit | ident }} AS VARCHAR) AS unit_id,
    CAST({{ source.occurred_at | ident }} AS TIMESTAMP) AS occurred_at,
    {% for column in values -%}
    CAST({{ column | ident }} AS DOUBLE) AS {{ ('value_' ~ column) | ident }},
    {% endfor -%}
    {% for column in filters -%}
    {{ column | ident }} AS {{ ('filter_' ~ column) | ident }},
    {% endfor -%}
    CAST({{ source.loaded_at | ident if source.loaded_at else 'NULL' }} AS TIMESTAMP) AS loaded_at
FROM {{ source.table | ident }}
WHERE CAST({{ source.occurred_at | ident }} AS TIMESTAMP) >= $from_at
    AND CAST({{ source.occurred_at | ident }} AS TIMESTAMP) < $to_at
    {%- if source.loaded_at %}
    AND CAST({{ source.loaded_at | ident }} AS TIMESTAMP) <= $known_by
    {%- endif %}
    {%- if late %}
    AND CAST({{ source.loaded_at | ident }} AS TIMESTAMP) > $seen_by
    {%- endif %}
