"""Questions: when input of unknown senders is held, for how long, and how many questions a flood causes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from span_events.errors import DatabaseUnavailable
from span_events.metrics import Metric
from span_events.registry.shared import questions as module
from span_events.registry.shared.questions import Questions
from tests.bench.clock import ManualClock
from tests.bench.waiting import PATIENCE, until


class Database:
    """The questions that wait for an answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.waiting: list[asyncio.Future[None]] = []

    async def question(self) -> None:
        """Wait until the test answers."""
        self.asked += 1
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        await answer

    async def answer(self, error: Exception | None = None) -> None:
        """Answer the question that is asked next."""
        await until(lambda: bool(self.waiting))
        question = self.waiting.pop()
        if error is None:
            question.set_result(None)
        else:
            question.set_exception(error)


@asynccontextmanager
async def answering(
    question: Callable[[], Awaitable[None]], *, patience: float = PATIENCE, clock: ManualClock | None = None
) -> AsyncIterator[Questions]:
    """Follow the changes of other nodes."""
    questions = Questions((clock or ManualClock()).monotonic)
    questions.patience = patience
    task = asyncio.create_task(questions.run(question))
    await asyncio.sleep(0)
    try:
        yield questions
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def metrics(questions: Questions) -> dict[str, float | Mapping[str, float]]:
    """Return the metrics."""
    return {each.name: each.value() for each in questions.metrics() if isinstance(each, Metric)}


def hold(questions: Questions, decided: list[str], name: str, *, host: str = "10.0.0.1", octets: int = 10) -> bool:
    """Hold input that notes when it is decided."""
    return questions.hold(lambda: decided.append(name), host=host, octets=octets)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the next question at once."""
    monkeypatch.setattr(module, "_PAUSE", 0.0)


async def test_all_that_waits_shares_a_question() -> None:
    """Input that comes after its begin waits for the next one, since the answer may be older."""
    database, decided = Database(), list[str]()
    async with answering(database.question) as questions:
        held = [hold(questions, decided, "a"), hold(questions, decided, "b")]
        await until(lambda: database.asked == 1)
        held.append(hold(questions, decided, "c"))
        await database.answer()
        await until(lambda: database.asked == 2)
        first = list(decided)
        await database.answer()
        await until(lambda: len(decided) == 3)

    assert held == [True] * 3
    assert first == ["a", "b"]
    assert metrics(questions)["registry_questions"] == {"answered": 2, "late": 0, "failed": 0}


async def test_without_other_nodes_nothing_is_held() -> None:
    """The caller decides at once."""
    questions, decided = Questions(), list[str]()
    await questions.ask("10.0.0.1")

    assert not hold(questions, decided, "a")


async def test_a_flood_of_unknown_addresses_waits_in_bounded_memory_for_one_question() -> None:
    """The rest is decided at once."""
    database, decided = Database(), list[str]()
    async with answering(database.question) as questions:
        for number in range(10_000):
            hold(questions, decided, "x", host=f"10.0.{number >> 8}.{number & 255}")
        await until(lambda: database.asked == 1)
        full = metrics(questions)
        large = questions.hold(lambda: None, host="10.1.1.1", octets=1)
        await database.answer()
        await until(lambda: len(decided) == 1_024)
        empty = metrics(questions)

    assert (full["registry_held"], full["registry_unheld"], database.asked, large) == (1_024, 8_976, 1, False)
    assert empty["registry_held"] == 0


async def test_large_datagrams_are_bounded_by_their_octets() -> None:
    """1 MiB together; the room is free again after the answer."""
    database, decided = Database(), list[str]()
    async with answering(database.question) as questions:
        for number in range(20):
            hold(questions, decided, "x", host=f"10.0.0.{number}", octets=65_000)
        await database.answer()
        await until(lambda: len(decided) == 16)

        assert hold(questions, decided, "y", host="10.0.1.2", octets=1 << 20)


async def test_held_input_is_decided_in_turns() -> None:
    """Other work goes on between them, however many handshakes were held."""
    database, decided, turns = Database(), list[str](), list[int]()
    async with answering(database.question) as questions:
        for _ in range(20):
            questions.hold(lambda: decided.append("x"), host=None, octets=1)
        await database.answer()
        while len(decided) < 20:
            turns.append(len(decided))
            await asyncio.sleep(0)
        empty = metrics(questions)["registry_held"]

    assert {8, 16} <= set(turns) <= {0, 8, 16}
    assert empty == 0


async def test_eight_datagrams_of_a_host_wait() -> None:
    """Others go on."""
    database, decided = Database(), list[str]()
    async with answering(database.question) as questions:
        held = sum(hold(questions, decided, "x") for _ in range(100))

        assert held == 8
        assert hold(questions, decided, "y", host="10.0.0.2")


async def test_a_few_hosts_cannot_take_all_the_room() -> None:
    """From half of it on, each host has one place, so a device finds one among 400 strangers that flood."""
    database, decided = Database(), list[str]()
    async with answering(database.question) as questions:
        for _ in range(100):
            for number in range(400):
                hold(questions, decided, "x", host=f"10.0.{number >> 8}.{number & 255}")
        for number in range(400, 800):
            hold(questions, decided, "x", host=f"10.0.{number >> 8}.{number & 255}")

        assert hold(questions, decided, "y", host="10.9.9.9")


async def test_a_host_that_was_answered_rests() -> None:
    """For a second, it is decided by what is known, so that some hosts cannot keep others from being asked for."""
    database, decided, clock = Database(), list[str](), ManualClock()
    async with answering(database.question, clock=clock) as questions:
        hold(questions, decided, "a")
        await database.answer()
        await until(lambda: decided == ["a"])
        rests = not hold(questions, decided, "a")
        other = hold(questions, decided, "b", host="10.0.0.2")
        clock.shift(1.0)
        later = hold(questions, decided, "a")

    assert (rests, other, later) == (True, True, True)
    assert metrics(questions)["registry_unheld"] == 0


async def test_while_postgresql_is_slow_input_is_decided_by_what_is_known() -> None:
    """Waiting input is decided when the patience ends; nothing is held until the answer has come."""
    database, decided = Database(), list[str]()
    async with answering(database.question, patience=0) as questions:
        hold(questions, decided, "a")
        await until(lambda: decided == ["a"])
        meanwhile = hold(questions, decided, "b", host="10.0.0.2")
        await database.answer()
        await until(lambda: hold(questions, decided, "c", host="10.0.0.2"))

    assert not meanwhile
    assert decided == ["a", "c"]
    assert metrics(questions)["registry_questions"] == {"answered": 0, "late": 1, "failed": 0}


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), RuntimeError("a defect")])
async def test_a_failed_question_decides_what_waits(error: Exception) -> None:
    """And the next one is asked as usual."""
    database, decided = Database(), list[str]()
    with capture_logs() as logs:
        async with answering(database.question) as questions:
            hold(questions, decided, "a")
            await database.answer(error)
            await until(lambda: decided == ["a"])
            hold(questions, decided, "b", host="10.0.0.2")
            await database.answer()
            await until(lambda: decided == ["a", "b"])

    assert metrics(questions)["registry_questions"] == {"answered": 1, "late": 0, "failed": 1}
    assert [each["event"] for each in logs] == ["registry_question_defect"] * isinstance(error, RuntimeError)


async def test_a_question_that_fails_as_it_is_cancelled_is_no_defect() -> None:
    """Its transaction cannot be rolled back if the connection is what was lost."""
    defects: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: defects.append(context))
    asked = asyncio.Event()

    async def question() -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise DatabaseUnavailable("the connection was closed") from None

    async with answering(question) as questions:
        hold(questions, [], "a")
        await asked.wait()
    await asyncio.sleep(0)
    gc.collect()

    assert defects == []


async def test_input_is_held_once() -> None:
    """Its second decision is the last one; a defect in it leaves the others alone."""
    database, decided = Database(), list[bool]()
    async with answering(database.question) as questions:
        questions.hold(lambda: 1 // 0, host=None, octets=0)  # type: ignore[arg-type]
        questions.hold(lambda: decided.append(questions.hold(lambda: None, host=None, octets=0)), host=None, octets=0)
        with capture_logs() as logs:
            await database.answer()
            await until(lambda: bool(decided))

    assert decided == [False]
    assert [each["event"] for each in logs] == ["held_input_defect"]


async def test_the_end_of_following_decides_all_that_waits() -> None:
    """Also a caller that waits for the answer goes on; one that was cancelled is forgotten."""
    database, decided = Database(), list[str]()
    async with answering(database.question) as questions:
        callers = [asyncio.create_task(questions.ask("10.0.0.9")) for _ in range(2)]
        await until(lambda: database.asked == 1)
        callers[1].cancel()
        hold(questions, decided, "a")
    await callers[0]

    assert decided == ["a"]
    assert not hold(questions, decided, "b")
