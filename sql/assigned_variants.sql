{#-
Grain: unit of a table that the assignment lets into an experiment.
Identifiers: table, unit (its column), assignment (see assignment.sql).
Parameters: none, because the statement is handed to people.
Output: unit_id, variant.
-#}
{%- from 'assignment.sql' import positions, variant -%}
{%- set unit_id = "CAST(" ~ unit | ident ~ " AS VARCHAR)" -%}
WITH positions AS (
    SELECT DISTINCT
        {{ unit_id }} AS unit_id,
        {{ positions(assignment, unit_id) }}
    FROM {{ table | ident }}
    WHERE {{ unit | ident }} IS NOT NULL
),
assigned_units AS (
    SELECT
        unit_id,
        {{ variant(assignment) }} AS variant
    FROM positions
)
SELECT
    unit_id,
    variant
FROM assigned_units
WHERE variant IS NOT NULL
ORDER BY 1
