{#-
Grain: one row: units that have more than one row in a unit-level table.
Identifiers: units (source).
Parameters: none.
Output: repeated_units (count), example (text, one unit).
-#}
WITH repeated AS (
    SELECT {{ units.unit | ident }} AS unit_id
    FROM {{ units.table | ident }}
    WHERE {{ units.unit | ident }} IS NOT NULL
    GROUP BY {{ units.unit | ident }}
    HAVING COUNT(*) > 1
)
SELECT
    COUNT(*) AS repeated_units,
    MIN(CAST(unit_id AS VARCHAR)) AS example
FROM repeated
