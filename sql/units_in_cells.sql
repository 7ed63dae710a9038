{#-
Grain: a fragment: the CTE units_in_cells, one row a unit of the experiment with all that it is grouped by. It follows
    exposed_units.sql, and leaves out the units of exclusions and those that were not activated.
Identifiers: exclusions (sources), activation (metric) and its source, segments (source, column), covariates (source,
    column), attributes (the sources by name of both), matured (only those).
Parameters: with activation $as_of, $known_by_activation (timestamps in UTC), $activated_0, ... (its filter); with matured
    $starts_at, $ends_at and $matured_before (a unit whose window begins later is not mature, or came after the enrolment).
Output: unit_id, variant, crossover, exposed_at (with activation the time of that: the unit's windows begin there),
    assigned_at (first exposure), exposed_on (date of exposed_at), segment_0, segment_1, ... (text), covariate_0,
    covariate_1, ... (both as known at assigned_at where their source is a history).
-#}
{%- if activation -%}
{%- set source = activation_source -%}
{%- set occurred_at = "CAST(" ~ ("events." ~ source.occurred_at) | ident ~ " AS TIMESTAMP)" -%}
activated_units AS (
    SELECT
        exposed_units.unit_id,
        MIN({{ occurred_at }}) AS activated_at
    FROM exposed_units
    INNER JOIN {{ source.table | ident }} AS events
        ON CAST({{ ('events.' ~ source.unit) | ident }} AS VARCHAR) = exposed_units.unit_id
        AND {{ occurred_at }} >= exposed_units.exposed_at
        AND {{ occurred_at }} < exposed_units.exposed_at + INTERVAL '{{ activation.window_days | int }}' DAY
    WHERE {{ occurred_at }} < $as_of
        {%- for column, _ in activation.where %}
        AND {{ ('events.' ~ column) | ident }} = $activated_{{ loop.index0 }}
        {%- endfor %}
        {%- if source.loaded_at %}
        AND CAST({{ ('events.' ~ source.loaded_at) | ident }} AS TIMESTAMP) <= $known_by_activation
        {%- endif %}
    GROUP BY exposed_units.unit_id
),
{% endif -%}
{%- for name, attribute in attributes.items() if attribute.known_from -%}
{%- set known_from = "CAST(" ~ ("history." ~ attribute.known_from) | ident ~ " AS TIMESTAMP)" -%}
{{ ('attribute_' ~ name) | ident }} AS (
    SELECT *
    FROM (
        SELECT
            {% for column in columns_of[name] -%}
            {{ ('history.' ~ column) | ident }},
            {% endfor -%}
            exposed_units.unit_id,
            ROW_NUMBER() OVER (PARTITION BY exposed_units.unit_id ORDER BY {{ known_from }} DESC) AS place
        FROM exposed_units
        INNER JOIN {{ attribute.table | ident }} AS history
            ON CAST({{ ('history.' ~ attribute.unit) | ident }} AS VARCHAR) = exposed_units.unit_id
            AND {{ known_from }} <= exposed_units.exposed_at
    ) AS known_rows
    WHERE place = 1
),
{% endfor -%}
units_in_cells AS (
    SELECT
        exposed_units.unit_id,
        exposed_units.variant,
        exposed_units.crossover,
        {% set exposed_at = 'activated_units.activated_at' if activation else 'exposed_units.exposed_at' -%}
        {{ exposed_at }} AS exposed_at,
        exposed_units.exposed_at AS assigned_at,
        {% for segment in segments -%}
        COALESCE(CAST({{ ('attribute_' ~ segment.source ~ '.' ~ segment.column) | ident }} AS VARCHAR), '(unknown)') AS segment_{{ loop.index0 }},
        {% endfor -%}
        {% for covariate in covariates -%}
        CAST({{ ('attribute_' ~ covariate.source ~ '.' ~ covariate.column) | ident }} AS DOUBLE) AS covariate_{{ loop.index0 }},
        {% endfor -%}
        CAST({{ exposed_at }} AS DATE) AS exposed_on
    FROM exposed_units
    {% if activation -%}
    INNER JOIN activated_units
        ON activated_units.unit_id = exposed_units.unit_id
    {% endif -%}
    {% for name, attribute in attributes.items() -%}
    LEFT JOIN {{ '' if attribute.known_from else attribute.table | ident ~ ' AS ' }}{{ ('attribute_' ~ name) | ident }}
        ON {% if attribute.known_from %}{{ ('attribute_' ~ name ~ '.unit_id') | ident }}{% else %}CAST({{ ('attribute_' ~ name ~ '.' ~ attribute.unit) | ident }} AS VARCHAR){% endif %} = exposed_units.unit_id
    {% endfor -%}
    WHERE {{ 'exposed_units.exclusion < 0' if exclusions else 'TRUE' }}
        {%- if matured %}
        AND exposed_units.exposed_at >= $starts_at
        AND exposed_units.exposed_at < $ends_at
        AND {{ exposed_at }} < $matured_before
        {%- endif %}
)
