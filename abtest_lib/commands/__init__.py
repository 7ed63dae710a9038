"""The verbs of ``abtest``, a file for each family; their rules are in the modules of ``abtest_lib``."""

from abtest_lib.commands import archive, assign, definitions, deliver, fleet, night, past, plan, state

VERBS = (
    definitions.LIST,
    definitions.VALIDATE,
    plan.PLAN,
    night.RUN,
    night.OUTCOMES_READY,
    night.COLLECT,
    night.SAMPLE_RATIO,
    night.SIGNIFICANCE,
    night.SEGMENTS,
    night.GUARDRAILS,
    night.DECIDE,
    night.REPORT,
    deliver.DELIVER_EMAIL,
    deliver.DELIVER_SLACK,
    fleet.DIGEST,
    past.PREVIEW,
    deliver.SIGN,
    fleet.LATE,
    past.REPLAY,
    assign.ASSIGN,
    state.VERIFY,
    state.COST,
    archive.ARCHIVE,
)
