"""Many nights wait for the same source: each question is put to the warehouse once a period, for all of them together.

No rule is here. A night is asked about as everywhere else (``pipeline.outcomes_ready``), of a warehouse that gives an
equal question the answer it has given already, so that command line, ``collect`` and waiting nights cannot disagree.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from abtest_lib.warehouse import StatementError, Warehouse

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
MARGIN_SECONDS = 0.01  # after a period, so that whoever slept through it finds it over


class AnsweredWarehouse:
    """A warehouse that is opened when it is first asked, and asked an equal question once; refusals are answers too.

    It knows what ``pipeline.outcomes_ready`` asks and no more. Whoever gets an answer must not change it.

    Parameters
    ----------
    connect : callable
        Opens the warehouse.

    Examples
    --------
    >>> from contextlib import nullcontext
    >>> shop = AnsweredWarehouse(lambda: nullcontext(warehouse))
    >>> shop.query("SELECT COUNT(*) AS n FROM customers") is shop.query("SELECT COUNT(*) AS n FROM customers")
    True
    """

    def __init__(self, connect: Callable[[], Warehouse]) -> None:
        self._connect = connect
        self._answers: dict[Hashable, tuple[Any, str | None]] = {}
        self._opened: Any = None
        self._warehouse: Warehouse | None = None
        self._unreachable: str | None = None

    @property
    def name(self) -> str:
        """Where it lies."""
        return self._answer("name", lambda warehouse: warehouse.name)

    def query(self, sql: str, parameters: Mapping | None = None) -> list[dict]:
        """Run one statement and return its rows; errors as of any warehouse."""
        question = (sql, tuple(sorted((parameters or {}).items())))
        return self._answer(question, lambda warehouse: warehouse.query(sql, parameters))

    def columns(self, table: str) -> list[str] | None:
        """Name the columns of a table or view; None when there is no such table."""
        return self._answer(("columns", table), lambda warehouse: warehouse.columns(table))

    def tables(self) -> list[str]:
        """Name the tables and views."""
        return self._answer("tables", lambda warehouse: warehouse.tables())

    def close(self) -> None:
        """Close the connection; the answers stay, and one that is missing opens the warehouse again."""
        opened, self._opened, self._warehouse, self._unreachable = self._opened, None, None, None
        if opened is not None:
            opened.__exit__(None, None, None)

    def _answer(self, question: Hashable, ask: Callable[[Warehouse], Any]) -> Any:
        if question not in self._answers:
            try:
                self._answers[question] = ask(self._open()), None
            except StatementError as error:
                self._answers[question] = None, str(error)
            except OSError as error:
                self._unreachable = str(error)
                raise
        answer, refusal = self._answers[question]
        if refusal is not None:
            raise StatementError(refusal)
        return answer

    def _open(self) -> Warehouse:
        if self._unreachable:  # fifty nights need not wait for fifty time-outs
            raise ConnectionError(self._unreachable)
        if self._warehouse is None:
            self._opened = self._connect()
            self._warehouse = self._opened.__enter__()
        return self._warehouse


class SourceWatch:
    """Answers questions about sources in rounds, one round at a time, each in a thread and over one connection.

    Parameters
    ----------
    connect : callable
        Opens the warehouse.
    seconds : float
        How long an answer holds.

    Examples
    --------
    >>> from contextlib import nullcontext
    >>> watch = SourceWatch(lambda: nullcontext(warehouse), seconds=60.0)
    >>> asyncio.run(watch.ask(lambda shop: "customers" in shop.tables()))
    True
    """

    def __init__(self, connect: Callable[[], Warehouse], seconds: float) -> None:
        self._connect, self._seconds = connect, seconds
        self._answered = AnsweredWarehouse(connect)
        self._until = float("-inf")
        self._asked: list[tuple[Callable[[Any], Any], asyncio.Future]] = []
        self._rounds: asyncio.Task | None = None

    async def ask(self, question: Callable[[AnsweredWarehouse], Answer]) -> Answer:
        """Answer a question, together with those that others ask meanwhile.

        Parameters
        ----------
        question : callable
            Is given the warehouse, in a thread.

        Returns
        -------
        object
            What the question returned. It is based on answers that are no older than ``seconds``.

        Raises
        ------
        Exception
            What the question raised; the other ones do not notice.
        """
        answer = asyncio.get_running_loop().create_future()
        self._asked.append((question, answer))
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._answer_all())
        return await answer

    async def pause(self, most: float) -> None:
        """Sleep until the answers no longer hold, at most so many seconds; all that sleep wake together."""
        left = max(self._until - time.monotonic(), 0) + MARGIN_SECONDS
        await asyncio.sleep(min(left, most))

    async def _answer_all(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            found = await asyncio.to_thread(self._round, [question for question, _ in asked])
            for (_, answer), (value, error) in zip(asked, found, strict=True):
                if answer.done():
                    continue  # whoever asked was cancelled
                if error:
                    answer.set_exception(error)
                else:
                    answer.set_result(value)

    def _round(self, questions: Sequence[Callable]) -> list[tuple[Any, Exception | None]]:
        is_over = time.monotonic() >= self._until
        if is_over:
            self._answered = AnsweredWarehouse(self._connect)
        found: list[tuple[Any, Exception | None]] = []
        for question in questions:
            try:
                found.append((question(self._answered), None))
            except Exception as error:
                found.append((None, error))
        try:
            self._answered.close()
        except Exception as error:
            log.warning("The connection to the warehouse was not closed well: %s", error)
        if is_over:  # counted from the end, so that a slow warehouse gets its rest too
            self._until = time.monotonic() + self._seconds
        return found
