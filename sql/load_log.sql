{#-
Grain: one row: when the loader declared a day of a source complete, the first time if it did so again.
Identifiers: log (the load log).
Parameters: $source (name in sources.yaml), $data_on (date).
Output: complete_at (timestamp in UTC, null when it has not).
-#}
SELECT MIN(CAST({{ log.loaded_at | ident }} AS TIMESTAMP)) AS complete_at
FROM {{ log.table | ident }}
WHERE {{ log.source | ident }} = $source
    AND CAST({{ log.data_on | ident }} AS DATE) = $data_on
