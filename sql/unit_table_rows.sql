{#-
Grain: one row a unit of a unit-level table: some of its columns as they are, to see their types and to guess how many
    values segments have.
Identifiers: units (source), columns, rows (at most so many, whichever the engine has first).
Parameters: none.
Output: the columns.
-#}
SELECT
    {% for column in columns -%}
    {{ column | ident }}{{ ',' if not loop.last }}
    {% endfor %}
FROM {{ units.table | ident }}
LIMIT {{ rows | int }}
