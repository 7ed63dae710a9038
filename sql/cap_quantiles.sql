{#-
Grain: metric: a quantile of units' totals before an experiment began, over the units that have a row in those days.
Identifiers: source (outcomes), columns (metrics of it that count or average: value, aggregate, nulls, where, numbered as
    they stand).
Parameters: $starts_at (rows before it), $from_0, $from_1, ... (rows from then on count for each of columns), $from_at (the
    first of these), $known_by where the source has a load time (timestamps in UTC), $quantile_0, ... (shares),
    $where_0_0, ... (filters).
Output: number (of the metric), units (with a value), null_rows (without one), not_finite (units whose total is NaN or
    infinite) (counts), quantile_value (the smallest total that has at least the share of units at or below it, in the
    metric's unit; null without units). A metric without a row has none.
-#}
{%- set occurred_at = "CAST(" ~ source.occurred_at | ident ~ " AS TIMESTAMP)" -%}
{%- set unit = "CAST(" ~ source.unit | ident ~ " AS VARCHAR)" -%}
{%- macro total(column, i) -%}
{%- if column.kind == 'count' -%}
CAST(rows_{{ i }} AS DOUBLE)
{%- elif column.aggregate == 'mean' and column.nulls == 'zero' -%}
COALESCE(sum_{{ i }} / rows_{{ i }}, CAST(0 AS DOUBLE))
{%- elif column.aggregate == 'mean' -%}
sum_{{ i }} / NULLIF(values_{{ i }}, 0)
{%- elif column.nulls == 'zero' -%}
COALESCE(sum_{{ i }}, CAST(0 AS DOUBLE))
{%- else -%}
sum_{{ i }}
{%- endif -%}
{%- endmacro -%}
WITH unit_sums AS (
    SELECT
        {{ unit }} AS unit_id,
        {% for column in columns -%}
        {% set i = loop.index0 -%}
        {% set filter -%}
        FILTER (WHERE {{ occurred_at }} >= $from_{{ i }}
        {%- for name, _ in column.where %} AND {{ name | ident }} = $where_{{ i }}_{{ loop.index0 }}{% endfor -%}
        )
        {%- endset -%}
        {% if column.kind != 'count' -%}
        {% set value = "CAST(" ~ column.value | ident ~ " AS DOUBLE)" -%}
        COUNT({{ value }}) {{ filter }} AS values_{{ i }},
        SUM({{ value }}) {{ filter }} AS sum_{{ i }},
        {% endif -%}
        COUNT(*) {{ filter }} AS rows_{{ i }}{{ ',' if not loop.last }}
        {% endfor %}
    FROM {{ source.table | ident }}
    WHERE {{ occurred_at }} >= $from_at
        AND {{ occurred_at }} < $starts_at
        {%- if source.loaded_at %}
        AND CAST({{ source.loaded_at | ident }} AS TIMESTAMP) <= $known_by
        {%- endif %}
        AND {{ unit }} <> ''
    GROUP BY 1
),
unit_totals AS (
    {% for column in columns -%}
    {% set i = loop.index0 -%}
    SELECT
        {{ i }} AS number,
        CAST($quantile_{{ i }} AS DOUBLE) AS quantile,
        {{ 'rows_' ~ i ~ ' - values_' ~ i if column.kind != 'count' else 0 }} AS null_rows,
        {{ total(column, i) }} AS total
    FROM unit_sums
    WHERE rows_{{ i }} > 0
    {% if not loop.last %}UNION ALL
    {% endif -%}
    {% endfor %}
),
ranked_totals AS (
    SELECT
        number,
        quantile,
        null_rows,
        total,
        ROW_NUMBER() OVER (PARTITION BY number ORDER BY total NULLS LAST) AS place,
        COUNT(total) OVER (PARTITION BY number) AS units
    FROM unit_totals
)
SELECT
    number,
    COUNT(total) AS units,
    CAST(SUM(null_rows) AS BIGINT) AS null_rows,
    COUNT(*) FILTER (WHERE ABS(total) > 1.7976931348623157E308) AS not_finite,
    {#- A quotient is rounded once, as the share itself is, so 9 of 10 units are 0.9 of them. #}
    MIN(total) FILTER (WHERE CAST(place AS DOUBLE) / NULLIF(units, 0) >= quantile) AS quantile_value
FROM ranked_totals
GROUP BY number
ORDER BY number
