{#-
Grain: unit that has one row in an attribute source.
Identifiers: none; the rows of attribute_rows.sql are the relation incoming.
Parameters: none.
Output: those rows, and all_rows (always 0, so that they are one file).
-#}
SELECT
    *,
    0 AS all_rows
FROM incoming
