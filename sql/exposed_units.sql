{#-
Grain: a fragment, the begin of units.sql, assigned_units.sql and moments.sql: the CTE exposed_units, one row a unit of the
    experiment.
Identifiers: exposures (source; without an experiment its rows are anybody's events, and a unit's first one from the
    start on stands for its exposure, in one variant), exclusions (sources).
Parameters: $experiment or, without one, $starts_at; $as_of, $known_by (timestamps in UTC).
Output: unit_id, variant (of the first exposure), exposed_at (the first), crossover (was seen in more than one variant),
    and with exclusions exclusion (number of the first of them that names the unit, -1 when none does).
-#}
known_exposures AS (
    SELECT
        CAST({{ exposures.unit | ident }} AS VARCHAR) AS unit_id,
        {{ 'CAST(' ~ exposures.variant | ident ~ ' AS VARCHAR)' if exposures.variant else "'everyone'" }} AS variant,
        CAST({{ exposures.exposed_at | ident }} AS TIMESTAMP) AS exposed_at
    FROM {{ exposures.table | ident }}
    {% if exposures.experiment -%}
    WHERE {{ exposures.experiment | ident }} = $experiment
    {%- else -%}
    WHERE {{ exposures.unit | ident }} IS NOT NULL
        AND CAST({{ exposures.exposed_at | ident }} AS TIMESTAMP) >= $starts_at
    {%- endif %}
        AND CAST({{ exposures.exposed_at | ident }} AS TIMESTAMP) < $as_of
        {% if exposures.loaded_at %}AND CAST({{ exposures.loaded_at | ident }} AS TIMESTAMP) <= $known_by{% endif %}
),
first_in_variant AS (
    SELECT
        unit_id,
        variant,
        MIN(exposed_at) AS exposed_at
    FROM known_exposures
    GROUP BY unit_id, variant
),
ranked_exposures AS (
    SELECT
        unit_id,
        variant,
        exposed_at,
        ROW_NUMBER() OVER (PARTITION BY unit_id ORDER BY exposed_at, variant) AS place,
        COUNT(*) OVER (PARTITION BY unit_id) AS variants_seen
    FROM first_in_variant
),
exposed_units AS (
    SELECT
        ranked_exposures.unit_id,
        ranked_exposures.variant,
        ranked_exposures.exposed_at,
        {% if exclusions -%}
        CASE
            {%- for _ in exclusions %}
            WHEN exclusion_{{ loop.index0 }}.unit_id IS NOT NULL THEN {{ loop.index0 }}
            {%- endfor %}
            ELSE -1
        END AS exclusion,
        {% endif -%}
        ranked_exposures.variants_seen > 1 AS crossover
    FROM ranked_exposures
    {% for exclusion in exclusions -%}
    LEFT JOIN (
        SELECT DISTINCT CAST({{ exclusion.unit | ident }} AS VARCHAR) AS unit_id
        FROM {{ exclusion.table | ident }}
    ) AS exclusion_{{ loop.index0 }}
        ON exclusion_{{ loop.index0 }}.unit_id = ranked_exposures.unit_id
    {% endfor -%}
    WHERE ranked_exposures.place = 1
)
