"""The sign, the word and the tone (colour) of each verdict, reading and guardrail result, the same in every format."""

VERDICTS = {
    "ship": ("✔", "SHIP", "good"),
    "do_not_ship": ("✖", "DO NOT SHIP", "bad"),
    "keep_running": ("…", "KEEP RUNNING", "wait"),
    "invalid": ("⚠", "INVALID", "warn"),
}
ACTIONS = {
    "ship": "Roll out {variant}.",
    "do_not_ship": "Keep {control}.",
    "keep_running": "Change nothing yet.",
    "invalid": "Do not use this night.",
}
READINGS = {
    "better": ("✔", "better", "good"),
    "worse": ("✖", "worse", "bad"),
    "not_shown": ("–", "not shown", "flat"),
    "interim": ("…", "interim", "flat"),
}
OUTCOMES = {
    "safe": ("✔", "proved safe", "good"),
    "harmful": ("✖", "proved harmful", "bad"),
    "not_yet": ("…", "not yet shown safe", "flat"),
}
