{#-
Grain: one row a row of an attribute source.
Identifiers: attribute (source), segments (its columns that units are grouped by), covariates (its columns that metrics are
    adjusted for).
Parameters: none.
Output: unit_id, of a history known_from (timestamp in UTC), segment_... (text), covariate_... (double).
-#}
SELECT
    {% for column in segments -%}
    CAST({{ column | ident }} AS VARCHAR) AS {{ ('segment_' ~ column) | ident }},
    {% endfor -%}
    {% for column in covariates -%}
    CAST({{ column | ident }} AS DOUBLE) AS {{ ('covariate_' ~ column) | ident }},
    {% endfor -%}
    {% if attribute.known_from -%}
    CAST({{ attribute.known_from | ident }} AS TIMESTAMP) AS known_from,
    {% endif -%}
    CAST({{ attribute.unit | ident }} AS VARCHAR) AS unit_id
FROM {{ attribute.table | ident }}
WHERE {{ attribute.unit | ident }} IS NOT NULL
