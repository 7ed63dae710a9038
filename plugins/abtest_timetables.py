"""When the nights of an experiment run: every midnight, and after an outage each missed one, in order."""

from __future__ import annotations

import datetime as dt

from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from pendulum import DateTime

MADE_UP_NIGHTS = 28


class DataDaysTimetable(CronDataIntervalTimetable):
    """A run for each day of data, by schedule or by backfill, never by hand.

    Airflow's own way to refuse manual runs, ``allowed_run_types``, also takes away the button behind which the form of
    the backfill is. So they are allowed there and refused here.
    """

    def __init__(self, expression: str = "0 0 * * *", timezone: str = "UTC") -> None:
        super().__init__(expression, timezone)

    def generate_run_id(
        self, *, run_type: str, run_after: DateTime, data_interval: DataInterval | None, **extra: object
    ) -> str:
        """Name a run, or refuse a manual one.

        Raises
        ------
        ValueError
            For a manual run; the form and the API show the text.
        """
        if run_type == "manual":
            raise ValueError(
                "A manual run is refused, because it would analyse another day than it says. Choose Backfill in this "
                "form and pick the first and last day of data; to try something out, use the DAG abtest_adhoc."
            )
        return super().generate_run_id(run_type=run_type, run_after=run_after, data_interval=data_interval, **extra)

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        """Give a run that was named by hand the interval that a backfill of its date would have.

        By default it would be the day before, and a later backfill of that date takes over the run as it is.
        """
        start = self._align_to_prev(run_after)
        if start == run_after:
            return DataInterval(start=start, end=self._get_next(start))
        return super().infer_manual_data_interval(run_after=run_after)


class NightsTimetable(DataDaysTimetable):
    """Midnight UTC; a DAG that has run before makes up the nights that were missed since, a new one starts with today.

    Airflow's own ``catchup`` knows only all or nothing: with it, a definition that is added late, or a fleet in a new
    Airflow, runs its whole past by itself; without it, three nights without Airflow leave two holes for ever.
    Nights further back than ``MADE_UP_NIGHTS`` are left to a backfill.

    Examples
    --------
    ``DAG(schedule=NightsTimetable(), catchup=False, max_active_runs=1, …)``
    """

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Give the next night; a backfill asks with ``catchup`` and gets the range it names."""
        if last_automated_data_interval and not restriction.catchup:
            last_night = self._skip_to_latest(None)
            oldest = last_night - dt.timedelta(days=MADE_UP_NIGHTS - 1)
            earliest = max(restriction.earliest, oldest) if restriction.earliest else oldest
            restriction = TimeRestriction(earliest, restriction.latest, catchup=True)
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )


class NightsPlugin(AirflowPlugin):
    """Makes the timetables known to every component."""

    name = "abtest_nights"
    timetables = [DataDaysTimetable, NightsTimetable]  # noqa: RUF012
