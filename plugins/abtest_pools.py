"""The pool that keeps the warehouse from being asked too much at once, there by itself wherever Airflow starts."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import Any, ClassVar

from abtest_tasks import WAREHOUSE_POOL
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

WAREHOUSE_SLOTS = 4
DESCRIPTION = "Tasks of A/B experiments that ask the warehouse. Change the slots as you like: they are kept."
log = logging.getLogger(__name__)


def warehouse_slots() -> int:
    """Give the slots of a new pool: ``ABTEST_WAREHOUSE_SLOTS``, else 4; also, with an error in the log, if it is wrong.

    A task whose pool does not exist waits for ever, which is worse than a few statements more or less at once.
    """
    text = os.environ.get("ABTEST_WAREHOUSE_SLOTS") or str(WAREHOUSE_SLOTS)
    if text.isdecimal() and 0 < int(text) < 10_000:
        return int(text)
    log.error("ABTEST_WAREHOUSE_SLOTS is %r; it must be a whole number from 1 to 9999. %d are taken.",
              text, WAREHOUSE_SLOTS)  # fmt: skip
    return WAREHOUSE_SLOTS


class Pools:
    """Hears of each process that Airflow starts."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Create the pool when a scheduler starts and there is none; one that is there stays as somebody has set it."""
        # Its tasks are forks of it under LocalExecutor; they are no jobs, and may not touch the database.
        if "scheduler" not in sys.argv or not hasattr(type(component), "job_type"):
            return
        from airflow.models.pool import Pool
        from airflow.utils.session import create_session
        from sqlalchemy.exc import IntegrityError

        with contextlib.suppress(IntegrityError), create_session() as session:  # another scheduler was first
            if Pool.get_pool(WAREHOUSE_POOL, session=session) is None:
                session.add(Pool(pool=WAREHOUSE_POOL, slots=warehouse_slots(), description=DESCRIPTION,
                                 include_deferred=False))  # fmt: skip


class AbtestPoolsPlugin(AirflowPlugin):
    """Registers the listener."""

    name = "abtest_pools"
    listeners: ClassVar = [Pools()]
