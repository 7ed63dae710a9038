"""Wait in the triggerer, without a worker, until a night's sources are loaded."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator
from typing import Any

from abtest_connections import experiments_folder, results_folder, warehouse_url
from abtest_tasks import ACCEPTED
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralError
from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TaskSuccessEvent, TriggerEvent

from abtest_lib import failures
from abtest_lib.errors import DataError, DefinitionError

POLL_SECONDS = 60.0
WAIT_HOURS = 24.0


class OutcomesReadyTrigger(BaseTrigger):
    """Ask the warehouse again and again whether a night's sources are complete.

    Parameters
    ----------
    experiment_key : str
        The experiment.
    as_of : str
        The night, ``YYYY-MM-DD``; data before its midnight UTC must be there.
    since : str
        ISO time from which the wait counts, so that a restart of the
        triggerer does not grant another full wait.
    poll_seconds : float
        Pause between two questions.
    wait_hours : float
        After this the night fails.
    accepted : str, optional
        Outcome sources that are taken as they are, separated by commas.
    """

    def __init__(
        self, experiment_key: str, as_of: str, since: str, poll_seconds: float, wait_hours: float, accepted: str = ""
    ) -> None:
        super().__init__()
        self.experiment_key = experiment_key
        self.as_of = as_of
        self.since = since
        self.poll_seconds = poll_seconds
        self.wait_hours = wait_hours
        self.accepted = accepted

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Give the class and the arguments from which the triggerer makes it again."""
        names = ("experiment_key", "as_of", "since", "poll_seconds", "wait_hours", "accepted")
        return "abtest_sensors.OutcomesReadyTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until ready (the task succeeds here), or hand the reason of the failure to a worker."""
        since = dt.datetime.fromisoformat(self.since)
        deadline = since + dt.timedelta(hours=self.wait_hours)
        while True:
            try:
                # The library is imported in the thread too: SciPy and DuckDB would stop the event loop for seconds.
                waiting = await asyncio.to_thread(self._missing)
            except (DefinitionError, DataError) as error:
                yield TriggerEvent({"error": failures.error_text(error), "retry": False})
                return
            except Exception as error:
                yield TriggerEvent({"error": failures.error_text(error), "retry": True})
                return
            if not waiting:
                self.log.info("%s, %s: every source is loaded.", self.experiment_key, self.as_of)
                yield TaskSuccessEvent()
                return
            listed = "; ".join(waiting)
            now = dt.datetime.now(dt.UTC)
            if now >= deadline:
                yield TriggerEvent({"error": self._too_late(listed), "retry": False})
                return
            self.log.info(
                "%s, %s: waiting since %s for %s. Next look in %g s, last at %s.",
                *(self.experiment_key, self.as_of, f"{since:%Y-%m-%d %H:%M:%S} UTC", listed, self.poll_seconds),
                f"{deadline:%Y-%m-%d %H:%M} UTC",
            )
            await asyncio.sleep(min(self.poll_seconds, max((deadline - now).total_seconds(), 0.1)))

    def _missing(self) -> list[str]:
        from abtest_lib import definitions, pipeline
        from abtest_lib import warehouse as warehouses

        experiment, location = definitions.load_experiment(experiments_folder(), self.experiment_key), warehouse_url()
        try:
            with warehouses.connect(location) as warehouse:
                as_of, accepted = dt.date.fromisoformat(self.as_of), [name for name in self.accepted.split(",") if name]
                found = pipeline.outcomes_ready(experiment, as_of, warehouse, results_folder())
                found = pipeline.blocking(experiment, found, accepted)
        except OSError as error:
            # A loader that holds the file, a restart of the server: the next look may find it open.
            return [f"the warehouse, which cannot be read now ({error})"]
        return [f"{waiting.source} ({waiting.reason})" for waiting in found]

    def _too_late(self, listed: str) -> str:
        return (
            f"{self.experiment_key}, {self.as_of}: after {self.wait_hours:g} h the night still waits for {listed}. "
            f"Load what is missing, then clear the task outcomes_ready of this run. Data that never arrives: name "
            f"the day's gap in the load log, or raise ABTEST_WAIT_HOURS if the source is always this late. A day that "
            f"is there but not whole: backfill this night with accept_incomplete, and the report says so."
        )


class OutcomesReadySensor(BaseSensorOperator):
    """Hold a night until its sources are loaded; no worker is used while it waits or when it succeeds.

    Parameters
    ----------
    experiment_key : str
        The experiment.
    poll_seconds, wait_hours : float, optional
        Default: ``ABTEST_POLL_SECONDS`` (60) and ``ABTEST_WAIT_HOURS`` (24).

    Notes
    -----
    Starting in the triggerer is not only cheaper. A task that defers itself and whose trigger fires at once can be
    marked failed by the scheduler (apache/airflow 71580), and in a backfill every trigger fires at once.
    """

    template_fields = ("as_of", "since", "accepted")
    start_from_trigger = True

    def __init__(
        self, *, experiment_key: str, poll_seconds: float | None = None, wait_hours: float | None = None, **kwargs
    ) -> None:
        # An execution_timeout would cut the wait, because with start_from_trigger it bounds the deferred time.
        super().__init__(**{**kwargs, "execution_timeout": None})
        self.experiment_key = experiment_key
        self.as_of = "{{ data_interval_end.strftime('%Y-%m-%d') }}"
        self.since = "{{ dag_run.start_date.isoformat() }}"
        self.accepted = ACCEPTED
        wait_hours = wait_hours or float(os.environ.get("ABTEST_WAIT_HOURS") or WAIT_HOURS)
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="abtest_sensors.OutcomesReadyTrigger",
            trigger_kwargs={
                "experiment_key": experiment_key,
                "as_of": self.as_of,
                "since": self.since,
                "poll_seconds": poll_seconds or float(os.environ.get("ABTEST_POLL_SECONDS") or POLL_SECONDS),
                "wait_hours": wait_hours,
                "accepted": self.accepted,
            },
            next_method="fail",
            # Only if the trigger itself never looks at the clock again; its own message is the better one.
            timeout=dt.timedelta(hours=wait_hours + 1),
        )

    def execute(self, context: Any) -> None:
        """Never called by the scheduler: the task starts in the triggerer."""
        raise AirflowException("outcomes_ready starts in the triggerer; run it with a triggerer, or use `abtest run`.")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Keep the reason, whatever ended the wait, for the alert."""
        failures.clear(results_folder(), self.experiment_key, self.as_of, self.task_id)
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowException, TaskDeferralError) as error:
            reason = ((next_kwargs or {}).get("event") or {}).get("error", error)
            failures.record(results_folder(), self.experiment_key, self.as_of, self.task_id, reason)
            raise

    def fail(self, context: Any, event: dict[str, Any]) -> None:
        """End the task with the reason that the trigger gave."""
        if event["retry"]:
            raise AirflowException(event["error"])
        raise AirflowFailException(event["error"])
