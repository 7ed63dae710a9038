"""Which night runs next, asked as the scheduler and as a backfill ask."""

import datetime as dt

import pendulum
import pytest
from abtest_timetables import MADE_UP_NIGHTS, NightsTimetable
from airflow.timetables.base import DataInterval, TimeRestriction

DAY = dt.timedelta(days=1)


@pytest.fixture
def midnight():
    """The last midnight; asked again when a new day began in between."""
    return pendulum.now("UTC").start_of("day")


def interval(start):
    return DataInterval(start, start + DAY)


def nights(last, *, first, end=None, catchup=False):
    """Ask for one night after another until there is none that is over."""
    found, timetable = [], NightsTimetable()
    while True:
        info = timetable.next_dagrun_info(
            last_automated_data_interval=last, restriction=TimeRestriction(first, end, catchup)
        )
        if info is None or info.run_after > pendulum.now("UTC"):
            return found
        last = info.data_interval
        found.append(last.start)


def test_a_new_experiment_begins_with_the_last_night(midnight):
    assert nights(None, first=midnight - 10 * DAY) == [midnight - DAY]


def test_missed_nights_are_made_up_in_order(midnight):
    assert nights(interval(midnight - 5 * DAY), first=midnight - 10 * DAY) == [
        midnight - 4 * DAY,
        midnight - 3 * DAY,
        midnight - 2 * DAY,
        midnight - DAY,
    ]


def test_no_more_than_four_weeks_are_made_up(midnight):
    found = nights(interval(midnight - 100 * DAY), first=midnight - 200 * DAY)
    assert found == [midnight - number * DAY for number in range(MADE_UP_NIGHTS, 0, -1)]


def test_nothing_runs_after_the_deciding_night(midnight):
    assert nights(interval(midnight - 5 * DAY), first=midnight - 9 * DAY, end=midnight - 3 * DAY) == [
        midnight - 4 * DAY,
        midnight - 3 * DAY,
    ]
    assert nights(None, first=midnight - 90 * DAY, end=midnight - 50 * DAY) == []


def test_nothing_runs_before_the_start(midnight):
    assert nights(None, first=midnight + 3 * DAY) == []


def test_a_backfill_gets_the_days_it_names(midnight):
    first, last = midnight - 100 * DAY, midnight - 98 * DAY
    assert nights(None, first=first, end=last, catchup=True) == [first, first + DAY, last]


def test_a_manual_run_is_refused_and_told_what_to_do():
    timetable, now = NightsTimetable(), pendulum.now("UTC")
    with pytest.raises(ValueError, match=r"^A manual run is refused, because .* Choose Backfill in this form"):
        timetable.generate_run_id(run_type="manual", run_after=now, data_interval=None)


def test_a_run_named_by_hand_has_the_interval_of_a_backfill_of_its_date(midnight):
    (backfilled,) = nights(None, first=midnight - 5 * DAY, end=midnight - 5 * DAY, catchup=True)
    assert NightsTimetable().infer_manual_data_interval(run_after=backfilled) == interval(backfilled)
    noon = midnight + dt.timedelta(hours=12)
    assert NightsTimetable().infer_manual_data_interval(run_after=noon) == interval(midnight - DAY)


def test_the_schedule_reads_as_before():
    timetable = NightsTimetable()
    assert (timetable.summary, timetable.periodic, timetable.can_be_scheduled) == ("0 0 * * *", True, True)
    assert NightsTimetable.deserialize(timetable.serialize()) == timetable
