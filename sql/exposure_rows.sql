{#-
Grain: one row a row of an exposure source, of the days between two times and of all experiments.
Identifiers: exposures (source), late (only rows loaded after $seen_by).
Parameters: $from_at, $to_at, $known_by where the source has a load time, and with late $seen_by
    (timestamps in UTC).
Output: experiment, unit_id, variant (text), exposed_at, loaded_at (null without a load time) (timestamps in UTC).
-#}
SELECT
    CAST({{ exposures.experiment | ident }} AS VARCHAR) AS experiment,
    CAST({{ exposures.unit | ident }} AS VARCHAR) AS unit_id,
    CAST({{ exposures.variant | ident }} AS VARCHAR) AS variant,
    CAST({{ exposures.exposed_at | ident }} AS TIMESTAMP) AS exposed_at,
    CAST({{ exposures.loaded_at | ident if exposures.loaded_at else 'NULL' }} AS TIMESTAMP) AS loaded_at
FROM {{ exposures.table | ident }}
WHERE CAST({{ exposures.exposed_at | ident }} AS TIMESTAMP) >= $from_at
    AND CAST({{ exposures.exposed_at | ident }} AS TIMESTAMP) < $to_at
    AND {{ exposures.experiment | ident }} IS NOT NULL
    {%- if exposures.loaded_at %}
    AND CAST({{ exposures.loaded_at | ident }} AS TIMESTAMP) <= $known_by
    {%- endif %}
    {%- if late %}
    AND CAST({{ exposures.loaded_at | ident }} AS TIMESTAMP) > $seen_by
    {%- endif %}
