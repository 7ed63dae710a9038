"""Wait in the triggerer, without a worker, until a night's sources are loaded."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from abtest_connections import experiments_folder, results_folder, warehouse_url
from abtest_tasks import ACCEPTED, LEAVE_OUT
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralError
from airflow.triggers.base import BaseTrigger, StartTriggerArgs, TaskSuccessEvent, TriggerEvent

from abtest_lib import failures, waits
from abtest_lib.errors import DataError, DefinitionError

if TYPE_CHECKING:
    from abtest_lib.pipeline import Waiting
    from abtest_lib.source_watch import SourceWatch
    from abtest_lib.warehouse import Warehouse

POLL_SECONDS = 60.0
WAIT_HOURS = 24.0
REPEAT_SECONDS = 900.0  # after which the log repeats what is waited for


@dataclass(frozen=True)
class Look:
    """What a night waits for, and which of it the night can do without and is allowed to."""

    waiting: tuple[Waiting, ...]
    may_leave_out: tuple[str, ...] = ()

    @property
    def listed(self) -> str:
        """Each source with its reason."""
        return "; ".join(f"{one.source} ({one.reason})" for one in self.waiting)


@lru_cache(maxsize=4)
def _watch(poll_seconds: float) -> SourceWatch:
    """The one watch of this triggerer; called in its event loop, so that two triggers cannot both make one."""
    from abtest_lib.source_watch import SourceWatch

    return SourceWatch(_connect, poll_seconds)


def _connect() -> Warehouse:
    from abtest_lib.warehouse import connect

    return connect(warehouse_url())


class OutcomesReadyTrigger(BaseTrigger):
    """Ask the warehouse again and again, together with the other nights, whether a night's sources are complete.

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
        How long an answer of the warehouse holds, for all nights.
    wait_hours : float
        After this the night is held, or goes on without late secondary
        metrics where its experiment says ``when_late: leave_out``.
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
        # Imported in a thread: the library would stop the event loop, and all triggers with it, for seconds.
        await asyncio.to_thread(importlib.import_module, "abtest_lib.source_watch")
        watch = _watch(self.poll_seconds)
        told = _Told()
        while True:
            try:
                look = await watch.ask(self._look)
            except (DefinitionError, DataError) as error:
                yield await self._ended({"error": failures.error_text(error), "retry": False})
                return
            except Exception as error:
                yield await self._ended({"error": failures.error_text(error), "retry": True})
                return
            if not look.waiting:
                self.log.info("%s, %s: every source is loaded.", self.experiment_key, self.as_of)
                yield await self._ready("")
                return
            left = (self._deadline - dt.datetime.now(dt.UTC)).total_seconds()
            if left <= 0:
                yield await self._too_late(look)
                return
            await self._tell(look, told)
            await watch.pause(left)

    async def on_kill(self) -> None:
        """Say that the night waits no more, because somebody ended the task by hand."""
        await asyncio.to_thread(self._forget)

    @property
    def _deadline(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.since) + dt.timedelta(hours=self.wait_hours)

    def _look(self, warehouse: Warehouse) -> Look:
        from abtest_lib import definitions, pipeline

        definitions.check_present(experiments_folder(), self.experiment_key)
        experiment = definitions.load_experiment(experiments_folder(), self.experiment_key)
        metrics = definitions.load_catalogue(experiments_folder()).metrics.values()
        as_of, accepted = dt.date.fromisoformat(self.as_of), [name for name in self.accepted.split(",") if name]
        try:
            found = pipeline.outcomes_ready(experiment, as_of, warehouse, results_folder(), metrics)
        except OSError as error:
            # A loader that holds the file, a restart of the server: the next look may find it open.
            return Look((pipeline.Waiting("the warehouse", f"it cannot be read now: {error}"),))
        waiting = pipeline.blocking(experiment, found, accepted)
        spare = pipeline.dispensable(experiment, waiting) if experiment.when_late == "leave_out" else []
        return Look(tuple(waiting), tuple(one.source for one in spare))

    async def _tell(self, look: Look, told: _Told) -> None:
        """Say what is waited for: in the log when it changes or after a quarter of an hour, in the file at once."""
        if told.is_news(look):
            self.log.info(
                "%s, %s: waiting since %s for %s. Looked at every %g s, at the latest until %s.",
                *(self.experiment_key, self.as_of, _moment(self.since), look.listed, self.poll_seconds),
                _moment(self._deadline.isoformat()),
            )
        if look.waiting != told.noted:
            told.noted = look.waiting
            await asyncio.to_thread(self._note, look)

    async def _too_late(self, look: Look) -> TriggerEvent:
        if len(look.may_leave_out) == len(look.waiting):
            self.log.warning(
                "%s, %s: goes on without the secondary metrics that read %s.",
                *(self.experiment_key, self.as_of, look.listed),
            )
            return await self._ready(",".join(look.may_leave_out))
        return await self._ended({"error": self._held(look.listed), "retry": False, "held": True})

    async def _ready(self, leave_out: str) -> TriggerEvent:
        await asyncio.to_thread(self._forget)
        # Given each time: no worker starts here, so that nothing clears what an earlier try has said.
        return TaskSuccessEvent(xcoms={LEAVE_OUT: leave_out})

    async def _ended(self, payload: dict[str, Any]) -> TriggerEvent:
        await asyncio.to_thread(self._forget)
        return TriggerEvent(payload)

    def _note(self, look: Look) -> None:
        since, until = dt.datetime.fromisoformat(self.since), self._deadline
        try:
            waits.note(results_folder(), self.experiment_key, self.as_of, since, until, look.waiting)
        except OSError as error:
            self.log.warning("The results cannot be written here, so that only this log tells of the wait: %s", error)

    def _forget(self) -> None:
        with suppress(OSError):
            waits.forget(results_folder(), self.experiment_key, self.as_of)

    def _held(self, listed: str) -> str:
        """The reason, for which the digest has room, and on the next line what to do."""
        return (
            f"{self.experiment_key}, {self.as_of}: waited since {_moment(self.since)}, for "
            f"{self.wait_hours:g} h, and still lacks {listed}.\n"
            "The night is held. Load what is missing, then clear the task outcomes_ready of this run. Data that never "
            "arrives: name the day's gap in the load log, or raise ABTEST_WAIT_HOURS if the source is always this "
            "late. A day that is there but not whole: backfill this night with accept_incomplete, and the report says "
            "so. What only secondary metrics read: when_late: leave_out in the experiment's YAML lets its nights go on "
            "without it."
        )


@dataclass
class _Told:
    """What has been said of a wait, so that a night is not 1,440 lines."""

    sources: frozenset[str] | None = None
    at: float = 0.0
    noted: tuple[Waiting, ...] | None = None

    def is_news(self, look: Look) -> bool:
        """Whether to say it (again); remembers that it was said."""
        sources, now = frozenset(one.source for one in look.waiting), time.monotonic()
        if sources == self.sources and now - self.at < REPEAT_SECONDS:
            return False
        self.sources, self.at = sources, now
        return True


def _moment(iso: str) -> str:
    return f"{dt.datetime.fromisoformat(iso).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


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
        wait_hours = wait_hours or _setting("ABTEST_WAIT_HOURS", WAIT_HOURS)
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="abtest_sensors.OutcomesReadyTrigger",
            trigger_kwargs={
                "experiment_key": experiment_key,
                "as_of": self.as_of,
                "since": self.since,
                "poll_seconds": poll_seconds or _setting("ABTEST_POLL_SECONDS", POLL_SECONDS),
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
        night = results_folder(), self.experiment_key, self.as_of
        failures.clear(*night, self.task_id)
        waits.forget(*night)
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowException, TaskDeferralError) as error:
            event = (next_kwargs or {}).get("event") or {}
            failures.record(*night, self.task_id, event.get("error", error), held=event.get("held", False))
            raise

    def fail(self, context: Any, event: dict[str, Any]) -> None:
        """End the task with the reason that the trigger gave."""
        if event["retry"]:
            raise AirflowException(event["error"])
        raise AirflowFailException(event["error"])


def _setting(name: str, default: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is '{text}'; it must be a number above 0.")
    return value
