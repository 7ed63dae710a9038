"""Asks, by Airflow's Required Actions, for the signature under a final verdict before the verdict is sent."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from abtest_connections import results_folder, smtp_server
from abtest_links import report_url, task_url
from abtest_tasks import AS_OF, delivers
from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from abtest_lib import failures
from abtest_lib.definitions import SignOff


class SignOffOperator(HITLOperator):
    """Wait until somebody approves or rejects the night's final verdict; without one, pass.

    Parameters
    ----------
    experiment_key : str
        The experiment.
    night : str
        Template of the revision's folder.
    sign_off : SignOff
        Who may answer, and within how many hours.

    Notes
    -----
    Airflow's ApprovalOperator skips what follows a rejection without a word. Here the deliveries run, find the answer
    in the store, and skip themselves with the reason in their log; so they do when they are cleared later.
    """

    template_fields = ("subject", "body", "as_of", "night")

    def __init__(self, *, experiment_key: str, night: str, sign_off: SignOff, **kwargs: Any) -> None:
        super().__init__(
            subject="Sign the verdict",
            options=[ApprovalOperator.APPROVE, ApprovalOperator.REJECT],
            assigned_users=[{"id": name, "name": name} for name in sign_off.by] or None,
            response_timeout=dt.timedelta(hours=sign_off.within_hours),
            **kwargs,
        )
        self.experiment_key = experiment_key
        self.as_of = AS_OF
        self.night = night

    def execute(self, context: Any) -> Any:
        """Ask, and wait without a worker; pass when there is nothing to sign."""
        from abtest_lib import sign_off

        night = Path(self.night)
        failures.clear(results_folder(), self.experiment_key, self.as_of, self.task_id)
        try:
            if not delivers(context):
                return "Nothing is asked: this backfill sends nothing."
            stands = sign_off.standing(night)
            if stands != sign_off.AWAITED:
                return sign_off.said(night) or "Nothing is asked: no verdict is final."
            places = {"link": task_url(context, self.task_id, "required_actions"), "report": report_url(context)}
            asked = sign_off.request(night, **places)
            sign_off.ask(night, smtp_server(), **places)
        except (Exception, AirflowTaskTimeout) as error:
            failures.record(results_folder(), self.experiment_key, self.as_of, self.task_id, error)
            raise
        self.subject, self.body = asked.subject, asked.markdown
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Keep the answer; fail, once, when none came in time."""
        from abtest_lib import sign_off

        night = Path(self.night)
        if event.get("error_type") == "timeout":
            if sign_off.standing(night) != sign_off.AWAITED:
                return sign_off.said(night)
            reason = sign_off.too_late(night)
            failures.record(results_folder(), self.experiment_key, self.as_of, self.task_id, reason)
            raise AirflowFailException(reason)
        answer = super().execute_complete(context, event)
        approved = answer["chosen_options"] == [ApprovalOperator.APPROVE]
        by = (answer["responded_by_user"] or {}).get("name") or "unknown"
        sign_off.sign(night, sign_off.APPROVED if approved else sign_off.REJECTED, by)
        return sign_off.said(night)
