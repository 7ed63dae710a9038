{#-
Grain: variant, day of exposure and the values of the segments of one of the sets: moments of columns over units. Each set
    holds all units once.
Identifiers: units (source), segments (columns), values (with column, share, boolean, zero and nullable), columns (with
    number, amount and perhaps other, the places of their values), sets (lists of places of segments).
Parameters: with exposed_at $as_of (timestamp in UTC; later units belong to a later night).
Output: variant, exposed_on (date; without exposed_at there is none), segment_0, segment_1, ... (text, null outside the
    set), units (count), others_0, ... (count for each of values that is a share and no boolean: neither 0 nor 1), and
    for each column i: nulls_i (units without a value, where some lack it); of one value n_i (where some lack it), mean_i
    and variance_i (of the population), or of a share n_i and ones_i (counts); of two values over the units that have
    both n_i (where some lack one), mean_i, variance_i, other_mean_i, other_variance_i and covariance_i, and where some
    lack the second other_nulls_i (counts), without_nulls_i, without_n_i, without_mean_i and without_variance_i over the
    units that lack it.
-#}
{%- macro number(value) -%}
CAST({% if value.boolean %}CAST({{ value.column | ident }} AS INTEGER){% else %}{{ value.column | ident }}{% endif %} AS {{ 'INTEGER' if value.boolean and value.share else 'DOUBLE' }})
{%- endmacro -%}
{%- macro of(place) -%}
{{ ('CAST(value_' ~ place ~ ' AS DOUBLE)') if values[place].boolean and values[place].share else 'value_' ~ place }}
{%- endmacro -%}
WITH unit_values AS (
    SELECT
        CAST({{ units.variant | ident }} AS VARCHAR) AS variant,
        {% if units.exposed_at -%}
        CAST(CAST({{ units.exposed_at | ident }} AS TIMESTAMP) AS DATE) AS exposed_on,
        {% endif -%}
        {% for segment in segments -%}
        COALESCE(CAST({{ segment | ident }} AS VARCHAR), '(unknown)') AS segment_{{ loop.index0 }},
        {% endfor -%}
        {% for value in values -%}
        {% if value.zero and value.nullable -%}
        CASE WHEN {{ value.column | ident }} IS NULL THEN 1 END AS null_{{ loop.index0 }},
        COALESCE({{ number(value) }}, 0) AS value_{{ loop.index0 }}
        {%- else -%}
        {{ number(value) }} AS value_{{ loop.index0 }}
        {%- endif -%}
        {{ ',' if not loop.last }}
        {% endfor %}
    FROM {{ units.table | ident }}
    {% if units.exposed_at -%}
    WHERE CAST({{ units.exposed_at | ident }} AS TIMESTAMP) < $as_of
    {%- endif %}
)
SELECT
    variant,
    {% if units.exposed_at -%}
    exposed_on,
    {% endif -%}
    {% for segment in segments -%}
    segment_{{ loop.index0 }},
    {% endfor -%}
    {% for column in columns -%}
    {% set i = column.number -%}
    {% set a = of(column.amount) -%}
    {% set first = values[column.amount] -%}
    {% if first.nullable -%}
    {{ 'COUNT(null_' ~ column.amount ~ ')' if first.zero else 'COUNT(*) - COUNT(' ~ a ~ ')' }} AS nulls_{{ i }},
    {% endif -%}
    {% if column.other is none -%}
    {% if first.gaps -%}
    COUNT({{ a }}) AS n_{{ i }},
    {% endif -%}
    {% if first.share -%}
    CAST(SUM(value_{{ column.amount }}) AS BIGINT) AS ones_{{ i }},
    {% else -%}
    AVG({{ a }}) AS mean_{{ i }},
    VAR_POP({{ a }}) AS variance_{{ i }},
    {% endif -%}
    {% else -%}
    {% set b = of(column.other) -%}
    {% set second = values[column.other] -%}
    {% set with_b = ' FILTER (WHERE ' ~ b ~ ' IS NOT NULL)' if second.gaps else '' -%}
    {% set with_a = ' FILTER (WHERE ' ~ a ~ ' IS NOT NULL)' if first.gaps else '' -%}
    {% if first.gaps or second.gaps -%}
    COUNT({{ a }} + {{ b }}) AS n_{{ i }},
    {% endif -%}
    AVG({{ a }}){{ with_b }} AS mean_{{ i }},
    VAR_POP({{ a }}){{ with_b }} AS variance_{{ i }},
    AVG({{ b }}){{ with_a }} AS other_mean_{{ i }},
    VAR_POP({{ b }}){{ with_a }} AS other_variance_{{ i }},
    COVAR_POP({{ a }}, {{ b }}) AS covariance_{{ i }},
    {% if second.nullable -%}
    {{ 'COUNT(null_' ~ column.other ~ ')' if second.zero else 'COUNT(*) - COUNT(' ~ b ~ ')' }} AS other_nulls_{{ i }},
    {% endif -%}
    {% if second.gaps -%}
    {% set without = ' FILTER (WHERE ' ~ b ~ ' IS NULL)' -%}
    {% if first.nullable -%}
    COUNT({{ 'null_' ~ column.amount if first.zero else '*' }}){{ without }}{{ '' if first.zero else ' - COUNT(' ~ a ~ ')' ~ without }} AS without_nulls_{{ i }},
    {% endif -%}
    COUNT({{ a }}){{ without }} AS without_n_{{ i }},
    AVG({{ a }}){{ without }} AS without_mean_{{ i }},
    VAR_POP({{ a }}){{ without }} AS without_variance_{{ i }},
    {% endif -%}
    {% endif -%}
    {% endfor -%}
    {% for value in values if value.share and not value.boolean -%}
    {% set place = values.index(value) -%}
    COUNT(*) FILTER (WHERE value_{{ place }} NOT IN (0, 1)) AS others_{{ place }},
    {% endfor -%}
    COUNT(*) AS units
FROM unit_values
GROUP BY GROUPING SETS (
    {%- for places in sets %}
    (variant{{ ', exposed_on' if units.exposed_at }}{% for place in places %}, segment_{{ place }}{% endfor %}){{ ',' if not loop.last }}
    {%- endfor %}
)
ORDER BY {{ range(1, 2 + segments | length + (1 if units.exposed_at else 0)) | join(', ') }}
