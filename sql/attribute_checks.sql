{#-
Grain: one row: units that have more than one row in an attribute table, or in a history two from the same time.
Identifiers: attribute (source), covariates (its columns that metrics are adjusted for).
Parameters: none.
Output: repeated_units (count), example (text, one unit), of a history null_times (rows without a time), not_finite_0,
    not_finite_1, ... (rows with a NaN or infinite number, for each of covariates).
-#}
WITH repeated AS (
    SELECT CAST({{ attribute.unit | ident }} AS VARCHAR) AS unit_id
    FROM {{ attribute.table | ident }}
    WHERE {{ attribute.unit | ident }} IS NOT NULL
        {%- if attribute.known_from %}
        AND {{ attribute.known_from | ident }} IS NOT NULL
        {%- endif %}
    GROUP BY CAST({{ attribute.unit | ident }} AS VARCHAR){% if attribute.known_from %}, CAST({{ attribute.known_from | ident }} AS TIMESTAMP){% endif %}

    HAVING COUNT(*) > 1
)
SELECT
    COUNT(DISTINCT unit_id) AS repeated_units,
    MIN(unit_id) AS example
    {%- if attribute.known_from %},
    (
        SELECT COUNT(*)
        FROM {{ attribute.table | ident }}
        WHERE {{ attribute.unit | ident }} IS NOT NULL
            AND {{ attribute.known_from | ident }} IS NULL
    ) AS null_times
    {%- endif %}
    {%- for column in covariates | default([]) %},
    (
        SELECT COUNT(*)
        FROM {{ attribute.table | ident }}
        {#- Engines that know NaN order it above every number. #}
        WHERE ABS(CAST({{ column | ident }} AS DOUBLE)) > 1.7976931348623157E308
    ) AS not_finite_{{ loop.index0 }}
    {%- endfor %}
FROM repeated
