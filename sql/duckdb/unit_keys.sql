{#-
Grain: one row a row of a unit-level table, by DuckDB alone.
Identifiers: units (source), whole (whether units are whole numbers of at most 64 bits).
Parameters: none.
Output: unit_key (the number, else a hash of 64 bits; units that differ rarely share one).
-#}
SELECT {{ units.unit | ident if whole else 'HASH(' ~ units.unit | ident ~ ')' }} AS unit_key
FROM {{ units.table | ident }}
