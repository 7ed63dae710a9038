{#-
Grain: day of data of a source: when its loader declared it complete.
Identifiers: log (the load log).
Parameters: $source (name in sources.yaml).
Output: data_on (date), complete_at (the first time) and declared_at (the last time, later when it was put right)
    (timestamps in UTC).
-#}
SELECT
    CAST({{ log.data_on | ident }} AS DATE) AS data_on,
    MIN(CAST({{ log.loaded_at | ident }} AS TIMESTAMP)) AS complete_at,
    MAX(CAST({{ log.loaded_at | ident }} AS TIMESTAMP)) AS declared_at
FROM {{ log.table | ident }}
WHERE {{ log.source | ident }} = $source
    AND {{ log.data_on | ident }} IS NOT NULL
    AND {{ log.loaded_at | ident }} IS NOT NULL
GROUP BY 1
ORDER BY 1
