{#-
Grain: a fragment, in the middle of quantile_bins.sql and state/quantile_bins.sql: the CTE unit_events, one row a value
    that a quantile counts. It follows the CTEs units_in_cells and, for a quantile of events, window_events (one row a row
    in a unit's window, amount), for one of units unit_totals (unit_id, rows_found, values_found, total).
Identifiers: metric.
Parameters: none.
Output: unit_id, variant, crossover, exposed_on and amount (never null) in the metric's unit.
-#}
{%- set zero = metric.nulls == 'zero' -%}
{%- if metric.is_of_events -%}
unit_events AS (
    SELECT
        unit_id,
        variant,
        crossover,
        exposed_on,
        {{ 'COALESCE(amount, CAST(0 AS DOUBLE)) AS amount' if zero else 'amount' }}
    FROM window_events
    {% if not zero -%}
    WHERE amount IS NOT NULL
    {%- endif %}
)
{%- else -%}
{#- A unit without rows has 0, but no mean; one whose rows have no value has neither, unless nulls are zeros. -#}
unit_amounts AS (
    SELECT
        units_in_cells.unit_id,
        units_in_cells.variant,
        units_in_cells.crossover,
        units_in_cells.exposed_on,
        {% if metric.aggregate == 'mean' and zero -%}
        COALESCE(unit_totals.total / NULLIF(unit_totals.rows_found, 0), CAST(0 AS DOUBLE)) AS amount
        {%- elif metric.aggregate == 'mean' -%}
        unit_totals.total / NULLIF(unit_totals.values_found, 0) AS amount
        {%- elif zero -%}
        COALESCE(unit_totals.total, CAST(0 AS DOUBLE)) AS amount
        {%- else -%}
        CASE WHEN COALESCE(unit_totals.rows_found, 0) = 0 THEN CAST(0 AS DOUBLE) ELSE unit_totals.total END AS amount
        {%- endif %}
    FROM units_in_cells
    LEFT JOIN unit_totals
        ON unit_totals.unit_id = units_in_cells.unit_id
),
unit_events AS (
    SELECT
        unit_id,
        variant,
        crossover,
        exposed_on,
        amount
    FROM unit_amounts
    WHERE amount IS NOT NULL
)
{%- endif %}
