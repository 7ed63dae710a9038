{#-
Grain: a fragment, the end of moments.sql and state/moments.sql: segment and its value, variant, crossover and
    exposed_on. It follows the CTEs units_in_cells and one for each window with sums by unit.
Identifiers: windows, columns (the plan of abtest_lib/measures.py), segments, covariates (source, column), ordered (units
    are added up in one order, so that the same units give the same digits).
Parameters: $cap_..._0, $cap_..._1 (of columns with a cap).
Output: segment (number, -1 for all units), value (text, null for all units), variant, crossover, exposed_on (date), units
    (matured), and for the metric of each column i: null_rows_i (rows in the window without a value), n_i (units with a
    value), mean_i and m2_i (sum of squared deviations) in the metric's unit. With a covariate these are over units with
    a value of it, units_i counts them, covariate_mean_i, covariate_m2_i and comoment_i (sum of products of both
    deviations) are over the same n_i, and unknown_units_i, unknown_null_rows_i, unknown_n_i, unknown_mean_i and
    unknown_m2_i over the other units. For a ratio n, mean and m2 are of the numerator over units with both sides, and
    there are denominator_null_rows_i, denominator_mean_i, denominator_m2_i and comoment_i. With a cap, capped_i (units
    above it; of a ratio those with both sides). For a quantile of events n, mean and m2 are of the number of events over units
    with one.
-#}
{%- macro of(part, what) -%}
{{ part.window.name }}.{{ what }}_{{ part.measure.number }}
{%- endmacro -%}
{%- macro null_rows(part) -%}
{%- if part.measure.value -%}
COALESCE({{ of(part, 'rows') }} - {{ of(part, 'values') }}, 0)
{%- else -%}
0
{%- endif -%}
{%- endmacro -%}
{#- A unit without rows has 0, but no mean; one whose rows have no value has neither, unless nulls are zeros. -#}
{%- macro amount(part) -%}
{%- set zero = part.metric.nulls == 'zero' -%}
{%- if part.metric.is_of_events -%}
CAST(NULLIF({{ of(part, 'rows' if zero else 'values') }}, 0) AS DOUBLE)
{%- elif part.metric.is_share -%}
CASE WHEN {{ of(part, 'rows') }} > 0 THEN CAST(1 AS DOUBLE) ELSE CAST(0 AS DOUBLE) END
{%- elif part.metric.kind == 'count' -%}
CAST(COALESCE({{ of(part, 'rows') }}, 0) AS DOUBLE)
{%- elif part.metric.aggregate == 'mean' and not zero -%}
{{ of(part, 'sum') }} / NULLIF({{ of(part, 'values') }}, 0)
{%- elif part.metric.aggregate == 'mean' -%}
COALESCE({{ of(part, 'sum') }} / NULLIF({{ of(part, 'rows') }}, 0), CAST(0 AS DOUBLE))
{%- elif zero -%}
COALESCE({{ of(part, 'sum') }}, CAST(0 AS DOUBLE))
{%- else -%}
CASE WHEN COALESCE({{ of(part, 'rows') }}, 0) = 0 THEN CAST(0 AS DOUBLE) ELSE {{ of(part, 'sum') }} END
{%- endif -%}
{%- endmacro -%}
{#- A unit's total above the cap counts as the cap. Engines differ in what LEAST makes of a null. #}
{%- macro capped(part, name) -%}
{%- if part.metric.cap is not none -%}
CASE WHEN {{ amount(part) }} > CAST(${{ name }} AS DOUBLE) THEN CAST(${{ name }} AS DOUBLE) ELSE {{ amount(part) }} END
{%- else -%}
{{ amount(part) }}
{%- endif -%}
{%- endmacro -%}
{%- macro moments(of, i, prefix, filter) -%}
COALESCE(AVG({{ of }}_{{ i }}){{ filter }}, CAST(0 AS DOUBLE)) AS {{ prefix }}mean_{{ i }},
    COALESCE(VAR_POP({{ of }}_{{ i }}){{ filter }} * COUNT({{ of }}_{{ i }}){{ filter }}, CAST(0 AS DOUBLE)) AS {{ prefix }}m2_{{ i }}
{%- endmacro -%}
unit_values AS (
    SELECT
        units_in_cells.variant,
        units_in_cells.crossover,
        units_in_cells.exposed_on,
        {% for segment in segments -%}
        units_in_cells.segment_{{ loop.index0 }},
        {% endfor -%}
        {% for column in columns -%}
        {% set i = column.number -%}
        {{ null_rows(column.parts[0]) }} AS null_rows_{{ i }},
        {{ capped(column.parts[0], 'cap_' ~ i ~ '_0') }} AS amount_{{ i }},
        {% if column.parts | length > 1 -%}
        {{ null_rows(column.parts[1]) }} AS denominator_null_rows_{{ i }},
        {{ capped(column.parts[1], 'cap_' ~ i ~ '_1') }} AS denominator_{{ i }},
        {% endif -%}
        {% if column.metric.is_capped -%}
        CASE
            {%- for part in column.parts if part.metric.cap is not none %}
            {#- Beyond rounding: a total at the cap is not above it, in whichever order it was added up. #}
            WHEN {{ amount(part) }} > CAST($cap_{{ i }}_{{ column.parts.index(part) }} AS DOUBLE) * 1.000000000001E0 THEN 1
            {%- endfor %}
            ELSE 0
        END AS capped_{{ i }},
        {% endif -%}
        {% if column.metric.covariate -%}
        units_in_cells.covariate_{{ covariates.index(column.metric.covariate) }} AS covariate_{{ i }},
        {% endif -%}
        {% endfor -%}
        units_in_cells.unit_id
    FROM units_in_cells
    {% for window in windows -%}
    LEFT JOIN {{ window.name }}
        ON {{ window.name }}.unit_id = units_in_cells.unit_id
    {% endfor -%}
    {% if ordered -%}
    ORDER BY units_in_cells.unit_id
    {%- endif %}
)
{% for segment in [none] + (segments | list) -%}
SELECT
    {{ loop.index0 - 1 }} AS segment,
    {{ 'segment_' ~ (loop.index0 - 1) if segment else 'CAST(NULL AS VARCHAR)' }} AS value,
    variant,
    crossover,
    exposed_on,
    {% for column in columns -%}
    {% set i = column.number -%}
    {% if column.parts | length > 1 -%}
    CAST(SUM(null_rows_{{ i }}) AS BIGINT) AS null_rows_{{ i }},
    CAST(SUM(denominator_null_rows_{{ i }}) AS BIGINT) AS denominator_null_rows_{{ i }},
    COUNT(amount_{{ i }} + denominator_{{ i }}) AS n_{{ i }},
    COALESCE(AVG(amount_{{ i }}) FILTER (WHERE denominator_{{ i }} IS NOT NULL), CAST(0 AS DOUBLE)) AS mean_{{ i }},
    COALESCE(VAR_POP(amount_{{ i }}) FILTER (WHERE denominator_{{ i }} IS NOT NULL) * COUNT(amount_{{ i }} + denominator_{{ i }}), CAST(0 AS DOUBLE)) AS m2_{{ i }},
    AVG(denominator_{{ i }}) FILTER (WHERE amount_{{ i }} IS NOT NULL) AS denominator_mean_{{ i }},
    VAR_POP(denominator_{{ i }}) FILTER (WHERE amount_{{ i }} IS NOT NULL) * COUNT(amount_{{ i }} + denominator_{{ i }}) AS denominator_m2_{{ i }},
    COVAR_POP(amount_{{ i }}, denominator_{{ i }}) * COUNT(amount_{{ i }} + denominator_{{ i }}) AS comoment_{{ i }},
    {% elif column.metric.covariate -%}
    {% for prefix, known in [('', ' FILTER (WHERE covariate_' ~ i ~ ' IS NOT NULL)'), ('unknown_', ' FILTER (WHERE covariate_' ~ i ~ ' IS NULL)')] -%}
    COUNT(*){{ known }} AS {{ prefix }}units_{{ i }},
    COALESCE(CAST(SUM(null_rows_{{ i }}){{ known }} AS BIGINT), 0) AS {{ prefix }}null_rows_{{ i }},
    COUNT(amount_{{ i }}){{ known }} AS {{ prefix }}n_{{ i }},
    {{ moments('amount', i, prefix, known) }},
    {% if column.metric.is_capped -%}
    COALESCE(CAST(SUM(capped_{{ i }}){{ known }} AS BIGINT), 0) AS {{ prefix }}capped_{{ i }},
    {% endif -%}
    {% endfor -%}
    AVG(covariate_{{ i }}) FILTER (WHERE amount_{{ i }} IS NOT NULL) AS covariate_mean_{{ i }},
    VAR_POP(covariate_{{ i }}) FILTER (WHERE amount_{{ i }} IS NOT NULL) * COUNT(amount_{{ i }} + covariate_{{ i }}) AS covariate_m2_{{ i }},
    COVAR_POP(amount_{{ i }}, covariate_{{ i }}) * COUNT(amount_{{ i }} + covariate_{{ i }}) AS comoment_{{ i }},
    {% else -%}
    CAST(SUM(null_rows_{{ i }}) AS BIGINT) AS null_rows_{{ i }},
    COUNT(amount_{{ i }}) AS n_{{ i }},
    {{ moments('amount', i, '', '') }},
    {% endif -%}
    {% if column.metric.is_capped and column.parts | length > 1 -%}
    COALESCE(CAST(SUM(capped_{{ i }}) FILTER (WHERE amount_{{ i }} IS NOT NULL AND denominator_{{ i }} IS NOT NULL) AS BIGINT), 0) AS capped_{{ i }},
    {% elif column.metric.is_capped and not column.metric.covariate -%}
    CAST(SUM(capped_{{ i }}) AS BIGINT) AS capped_{{ i }},
    {% endif -%}
    {% endfor -%}
    COUNT(*) AS units
FROM unit_values
GROUP BY 1, 2, 3, 4, 5
{% if not loop.last %}UNION ALL
{% endif -%}
{% endfor -%}
ORDER BY 1, 2, 3, 4, 5
