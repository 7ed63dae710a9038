{#-
Grain: one row: units that have more than one row in an attribute table.
Identifiers: attribute (source), covariates (its columns that metrics are adjusted for).
Parameters: none.
Output: repeated_units (count), example (text, one unit), not_finite_0, not_finite_1, ... (rows with a NaN or infinite
    number, for each of covariates).
-#}
WITH repeated AS (
    SELECT CAST({{ attribute.unit | ident }} AS VARCHAR) AS unit_id
    FROM {{ attribute.table | ident }}
    WHERE {{ attribute.unit | ident }} IS NOT NULL
    GROUP BY 1
    HAVING COUNT(*) > 1
)
SELECT
    COUNT(*) AS repeated_units,
    MIN(unit_id) AS example
    {%- for column in covariates | default([]) %},
    (
        SELECT COUNT_IF(NOT ISFINITE(CAST({{ column | ident }} AS DOUBLE)))
        FROM {{ attribute.table | ident }}
    ) AS not_finite_{{ loop.index0 }}
    {%- endfor %}
FROM repeated
