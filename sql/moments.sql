{#-
Grain: variant, crossover, exposed_on and the value of every segment: the moments of one metric over matured units.
    With a covariate also covariate_known: units without a value of it are a cell of their own.
Identifiers: exposures, sources (outcomes by name), metric, segments (source, column), attributes (the sources by name of
    segments and covariate).
Parameters: $experiment, $as_of, $known_by, $starts_at, $matured_before (a unit exposed later is not mature, or came
    after the enrolment), $where_0, $where_1, ... (the metric's row filter), $denominator_where_0, ... (of a ratio).
Output: variant, crossover, exposed_on (date), segment_0, segment_1, ... (text), units (matured), null_rows (rows in
    the window without a value), n (units with a value), mean and m2 (sum of squared deviations) in the metric's unit.
    With a covariate, over the same n units, null where covariate_known is false: covariate_mean, covariate_m2 (in the
    covariate's unit) and comoment (sum of products of both deviations). For a ratio n, mean and m2 are of the numerator,
    over units with both sides, and there are denominator_null_rows, denominator_mean, denominator_m2 and comoment.
-#}
{%- macro unit_outcomes(prefix, part, source) -%}
{%- set occurred_at = "CAST(" ~ ("outcomes." ~ source.occurred_at) | ident ~ " AS TIMESTAMP)" -%}
{%- set amount = "CAST(" ~ ("outcomes." ~ part.value) | ident ~ " AS DOUBLE)" if part.value else "CAST(1 AS DOUBLE)" -%}
{{ prefix }}unit_outcomes AS (
    SELECT
        matured_units.unit_id,
        COUNT(*) - COUNT({{ amount }}) AS null_rows,
        {% if part.is_share -%}
        CAST(1 AS DOUBLE) AS amount
        {%- elif part.kind == 'count' -%}
        CAST(COUNT(*) AS DOUBLE) AS amount
        {%- elif part.aggregate == 'sum' -%}
        SUM({% if part.nulls == 'zero' %}COALESCE({{ amount }}, CAST(0 AS DOUBLE)){% else %}{{ amount }}{% endif %}) AS amount
        {%- else -%}
        AVG({% if part.nulls == 'zero' %}COALESCE({{ amount }}, CAST(0 AS DOUBLE)){% else %}{{ amount }}{% endif %}) AS amount
        {%- endif %}
    FROM matured_units
    INNER JOIN {{ source.table | ident }} AS outcomes
        ON CAST({{ ('outcomes.' ~ source.unit) | ident }} AS VARCHAR) = matured_units.unit_id
        AND {{ occurred_at }} >= matured_units.exposed_at + INTERVAL '{{ part.delay_days | int }}' DAY
        AND {{ occurred_at }} < matured_units.exposed_at + INTERVAL '{{ part.delay_days + part.window_days }}' DAY
    WHERE {{ occurred_at }} < $as_of
        {% if source.loaded_at -%}
        AND CAST({{ ('outcomes.' ~ source.loaded_at) | ident }} AS TIMESTAMP) <= $known_by
        {% endif -%}
        {% for column, _ in part.where -%}
        AND {{ ('outcomes.' ~ column) | ident }} = ${{ prefix }}where_{{ loop.index0 }}
        {% endfor %}
    GROUP BY matured_units.unit_id
)
{%- endmacro -%}
{%- macro unit_amount(prefix, part) -%}
{%- if part.kind == 'mean' and part.aggregate == 'mean' and part.nulls != 'zero' -%}
{{ prefix }}unit_outcomes.amount
{%- else -%}
CASE WHEN {{ prefix }}unit_outcomes.unit_id IS NULL THEN CAST(0 AS DOUBLE) ELSE {{ prefix }}unit_outcomes.amount END
{%- endif -%}
{%- endmacro -%}
{%- set parts = [('', metric.numerator), ('denominator_', metric.denominator)] if metric.kind == 'ratio' else [('', metric)] -%}
{%- set cells = range(1, 4 + segments | length + (1 if metric.covariate else 0)) | join(", ") -%}
WITH {% include 'exposed_units.sql' %},
matured_units AS (
    SELECT
        unit_id,
        variant,
        exposed_at,
        crossover
    FROM exposed_units
    WHERE exposed_at >= $starts_at
        AND exposed_at < $matured_before
),
{% for prefix, part in parts -%}
{{ unit_outcomes(prefix, part, sources[part.source]) }},
{% endfor -%}
unit_values AS (
    SELECT
        matured_units.variant,
        matured_units.crossover,
        CAST(matured_units.exposed_at AS DATE) AS exposed_on,
        {% for segment in segments -%}
        COALESCE(CAST({{ ('attribute_' ~ segment.source ~ '.' ~ segment.column) | ident }} AS VARCHAR), '(unknown)') AS segment_{{ loop.index0 }},
        {% endfor -%}
        {% if metric.covariate -%}
        CAST({{ ('attribute_' ~ metric.covariate.source ~ '.' ~ metric.covariate.column) | ident }} AS DOUBLE) AS covariate,
        {% endif -%}
        {% for prefix, part in parts -%}
        COALESCE({{ prefix }}unit_outcomes.null_rows, 0) AS {{ prefix }}null_rows,
        {{ unit_amount(prefix, part) }} AS {{ 'denominator' if prefix else 'amount' }}{{ '' if loop.last else ',' }}
        {% endfor %}
    FROM matured_units
    {% for prefix, _ in parts -%}
    LEFT JOIN {{ prefix }}unit_outcomes
        ON {{ prefix }}unit_outcomes.unit_id = matured_units.unit_id
    {% endfor -%}
    {% for name, attribute in attributes.items() -%}
    LEFT JOIN {{ attribute.table | ident }} AS {{ ('attribute_' ~ name) | ident }}
        ON CAST({{ ('attribute_' ~ name ~ '.' ~ attribute.unit) | ident }} AS VARCHAR) = matured_units.unit_id
    {% endfor %}
)
SELECT
    variant,
    crossover,
    exposed_on,
    {% for segment in segments -%}
    segment_{{ loop.index0 }},
    {% endfor -%}
    {% if metric.covariate -%}
    covariate IS NOT NULL AS covariate_known,
    {% endif -%}
    COUNT(*) AS units,
    CAST(SUM(null_rows) AS BIGINT) AS null_rows,
    {% if metric.kind == 'ratio' -%}
    CAST(SUM(denominator_null_rows) AS BIGINT) AS denominator_null_rows,
    COUNT(amount + denominator) AS n,
    COALESCE(AVG(amount) FILTER (WHERE denominator IS NOT NULL), CAST(0 AS DOUBLE)) AS mean,
    COALESCE(VAR_POP(amount) FILTER (WHERE denominator IS NOT NULL) * COUNT(amount + denominator), CAST(0 AS DOUBLE)) AS m2,
    AVG(denominator) FILTER (WHERE amount IS NOT NULL) AS denominator_mean,
    VAR_POP(denominator) FILTER (WHERE amount IS NOT NULL) * COUNT(amount + denominator) AS denominator_m2,
    COVAR_POP(amount, denominator) * COUNT(amount + denominator) AS comoment
    {%- else -%}
    COUNT(amount) AS n,
    COALESCE(AVG(amount), CAST(0 AS DOUBLE)) AS mean,
    COALESCE(VAR_POP(amount) * COUNT(amount), CAST(0 AS DOUBLE)) AS m2
    {%- if metric.covariate %},
    AVG(covariate) FILTER (WHERE amount IS NOT NULL) AS covariate_mean,
    VAR_POP(covariate) FILTER (WHERE amount IS NOT NULL) * COUNT(amount) AS covariate_m2,
    COVAR_POP(amount, covariate) * COUNT(amount) AS comoment
    {%- endif %}
    {%- endif %}
FROM unit_values
GROUP BY {{ cells }}
ORDER BY {{ cells }}
