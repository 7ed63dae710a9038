{#-
Grain: unit of a table that the assignment lets into an experiment.
Identifiers: table, unit (its column); salt and layer (letters, digits, _, . and -), layer None where there is none;
    variants (pairs of a name and the position at which it ends), layer_start, layer_end and share_end, eight hexadecimal
    digits each, which compare as texts as they do as numbers; an end is None where it is the end of all.
Parameters: none, because the statement is handed to people.
Output: unit_id, variant.
-#}
{%- macro position(role, name) -%}
SUBSTR(MD5('{{ role }}:{{ name }}:' || CAST({{ unit | ident }} AS VARCHAR)), 1, 8)
{%- endmacro -%}
WITH positions AS (
    SELECT DISTINCT
        CAST({{ unit | ident }} AS VARCHAR) AS unit_id,
        {%- if layer %}
        {{ position("layer", layer) }} AS layer_position,
        {%- endif %}
        {{ position("share", salt) }} AS share_position,
        {{ position("variant", salt) }} AS variant_position
    FROM {{ table | ident }}
    WHERE {{ unit | ident }} IS NOT NULL
)
SELECT
    unit_id,
    CASE
        {%- for name, end in variants %}
        {% if end %}WHEN variant_position < '{{ end }}' THEN {% else %}ELSE {% endif -%}
        '{{ name | replace("'", "''") }}'
        {%- endfor %}
    END AS variant
FROM positions
WHERE TRUE
    {%- if share_end %}
    AND share_position < '{{ share_end }}'
    {%- endif %}
    {%- if layer %}
    AND layer_position >= '{{ layer_start }}'
    {%- endif %}
    {%- if layer and layer_end %}
    AND layer_position < '{{ layer_end }}'
    {%- endif %}
ORDER BY 1
