{#-
Grain: a fragment, the end of quantile_bins.sql and state/quantile_bins.sql: variant, crossover, exposed_on and bin. It
    follows the CTE unit_events, one row a value that counts.
Identifiers: width and offset (of abtest_lib/statistics/quantile_histograms.py).
Parameters: none.
Output: variant, crossover, exposed_on (date), bin_number, events (values in the bin), ranks (sum of 2 r - 1, r the place
    of a value among those of its own unit), sizes (sum of the number of values of the value's unit), lowest and highest
    in the metric's unit.
-#}
ranked_events AS (
    SELECT
        variant,
        crossover,
        exposed_on,
        amount,
        ROW_NUMBER() OVER (PARTITION BY unit_id ORDER BY amount) AS place,
        COUNT(*) OVER (PARTITION BY unit_id) AS unit_size
    FROM unit_events
),
binned_events AS (
    SELECT
        variant,
        crossover,
        exposed_on,
        amount,
        place,
        unit_size,
        CASE
            WHEN amount > 0 THEN CAST(FLOOR(LN(amount) / CAST({{ width | float }} AS DOUBLE)) AS BIGINT) + {{ offset | int }}
            WHEN amount < 0 THEN -CAST(FLOOR(LN(-amount) / CAST({{ width | float }} AS DOUBLE)) AS BIGINT) - {{ offset | int }}
            ELSE 0
        END AS bin_number
    FROM ranked_events
)
SELECT
    variant,
    crossover,
    exposed_on,
    bin_number,
    COUNT(*) AS events,
    CAST(SUM(2 * place - 1) AS BIGINT) AS ranks,
    CAST(SUM(unit_size) AS BIGINT) AS sizes,
    MIN(amount) AS lowest,
    MAX(amount) AS highest
FROM binned_events
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
