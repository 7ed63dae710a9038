{#-
Grain: one row: what is wrong with the exposures of the experiment.
Identifiers: exposures (source), variants (count).
Parameters: $experiment, $as_of, $known_by (timestamps in UTC), $variant_0, $variant_1, ... (the designed ones).
Output: exposures, null_units, null_variants, null_times, negative_times (before 1970), future_times (after the row was
    loaded or, without a load time, after now: only what is refused depends on the clock, never a number) (counts);
    unknown_variants (text, up to five names), unknown_rows and null_loads (counts; a row without its declared load
    time belongs to no night).
-#}
{%- set exposed_at = "CAST(" ~ exposures.exposed_at | ident ~ " AS TIMESTAMP)" -%}
{%- set variant = "CAST(" ~ exposures.variant | ident ~ " AS VARCHAR)" -%}
{%- set in_future -%}
{{ exposed_at }} > {% if exposures.loaded_at %}CAST({{ exposures.loaded_at | ident }} AS TIMESTAMP){% else %}CAST(NOW() AS TIMESTAMP){% endif %}
{%- endset -%}
{%- set unknown -%}
{{ variant }} NOT IN ({% for _ in variants %}{{ ', ' if loop.index0 }}$variant_{{ loop.index0 }}{% endfor %})
{%- endset -%}
{%- set in_the_night -%}
{{ exposures.experiment | ident }} = $experiment
    AND ({{ exposed_at }} < $as_of OR {{ exposed_at }} IS NULL OR {{ in_future }})
    {%- if exposures.loaded_at %}
    AND COALESCE(CAST({{ exposures.loaded_at | ident }} AS TIMESTAMP) <= $known_by, TRUE)
    {%- endif %}
{%- endset %}
SELECT
    COUNT(*) AS exposures,
    COUNT(*) FILTER (WHERE {{ exposures.unit | ident }} IS NULL OR CAST({{ exposures.unit | ident }} AS VARCHAR) = '') AS null_units,
    COUNT(*) FILTER (WHERE {{ exposures.variant | ident }} IS NULL) AS null_variants,
    COUNT(*) FILTER (WHERE {{ exposed_at }} IS NULL) AS null_times,
    COUNT(*) FILTER (WHERE {{ exposed_at }} < TIMESTAMP '1970-01-01') AS negative_times,
    COUNT(*) FILTER (WHERE {{ in_future }}) AS future_times,
    COUNT(*) FILTER (WHERE {{ unknown }}) AS unknown_rows,
    (
        SELECT STRING_AGG(name, ', ' ORDER BY name NULLS FIRST)
        FROM (
            SELECT DISTINCT {{ variant }} AS name
            FROM {{ exposures.table | ident }}
            WHERE {{ unknown }}
                AND {{ in_the_night }}
            ORDER BY name
            LIMIT 5
        ) AS names
    ) AS unknown_variants,
    {% if exposures.loaded_at -%}
    COUNT(*) FILTER (WHERE {{ exposures.loaded_at | ident }} IS NULL) AS null_loads
    {%- else -%}
    0 AS null_loads
    {%- endif %}
FROM {{ exposures.table | ident }}
WHERE {{ in_the_night }}
