{#-
Grain: one row: units that have more than one row in an attribute table.
Identifiers: attribute (source).
Parameters: none.
Output: repeated_units (count), example (text, one unit).
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
FROM repeated
