{#-
Two macros for assigned_variants.sql and assigned_otherwise.sql (also in state/): the positions of a unit, and the variant
    that they give.
Identifiers: unit (an expression, text), assignment (abtest_lib.assignment.sql_names): salt and layer (letters, digits, _, .
    and -), layer None where there is none; variants (pairs of a name and the position at which it ends), layer_start,
    layer_end and share_end, eight hexadecimal digits each, which compare as texts as they do as numbers; an end is None
    where it is the end of all.
-#}
{%- macro position(role, name, unit) -%}
SUBSTR(MD5('{{ role }}:{{ name }}:' || {{ unit }}), 1, 8) AS {{ role }}_position
{%- endmacro -%}
{%- macro positions(assignment, unit) -%}
{%- if assignment.layer -%}
{{ position("layer", assignment.layer, unit) }},
        {% endif -%}
{{ position("share", assignment.salt, unit) }},
        {{ position("variant", assignment.salt, unit) }}
{%- endmacro -%}
{%- macro variant(assignment) -%}
CASE
        {%- if assignment.layer %}
        WHEN layer_position < '{{ assignment.layer_start }}' THEN NULL
        {%- if assignment.layer_end %}
        WHEN layer_position >= '{{ assignment.layer_end }}' THEN NULL
        {%- endif %}
        {%- endif %}
        {%- if assignment.share_end %}
        WHEN share_position >= '{{ assignment.share_end }}' THEN NULL
        {%- endif %}
        {%- for name, end in assignment.variants %}
        {% if end %}WHEN variant_position < '{{ end }}' THEN {% else %}ELSE {% endif -%}
        '{{ name | replace("'", "''") }}'
        {%- endfor %}
    END
{%- endmacro -%}
