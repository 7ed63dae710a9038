{#-
Grain: a fragment: the CTE units_in_cells, one row a unit of the experiment with all that it is grouped by. It follows
    exposed_units.sql.
Identifiers: segments (source, column), covariates (source, column), attributes (the sources by name of both), matured
    (only those).
Parameters: with matured $starts_at and $matured_before (a unit exposed later is not mature, or came after the enrolment).
Output: unit_id, variant, crossover, exposed_at, exposed_on (date), segment_0, segment_1, ... (text), covariate_0,
    covariate_1, ...
-#}
units_in_cells AS (
    SELECT
        exposed_units.unit_id,
        exposed_units.variant,
        exposed_units.crossover,
        exposed_units.exposed_at,
        {% for segment in segments -%}
        COALESCE(CAST({{ ('attribute_' ~ segment.source ~ '.' ~ segment.column) | ident }} AS VARCHAR), '(unknown)') AS segment_{{ loop.index0 }},
        {% endfor -%}
        {% for covariate in covariates -%}
        CAST({{ ('attribute_' ~ covariate.source ~ '.' ~ covariate.column) | ident }} AS DOUBLE) AS covariate_{{ loop.index0 }},
        {% endfor -%}
        CAST(exposed_units.exposed_at AS DATE) AS exposed_on
    FROM exposed_units
    {% for name, attribute in attributes.items() -%}
    LEFT JOIN {{ attribute.table | ident }} AS {{ ('attribute_' ~ name) | ident }}
        ON CAST({{ ('attribute_' ~ name ~ '.' ~ attribute.unit) | ident }} AS VARCHAR) = exposed_units.unit_id
    {% endfor -%}
    {% if matured -%}
    WHERE exposed_units.exposed_at >= $starts_at
        AND exposed_units.exposed_at < $matured_before
    {% endif %}
)
