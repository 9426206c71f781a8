"""Logins: begun with a password, ended by time, logout, password change and deletion, by this process or another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from argon2 import Parameters, extract_parameters

from span_events.auth import passwords
from span_events.auth.logins import Logins
from span_events.auth.users import Users
from span_events.config import LoginsConfig
from span_events.errors import Conflict, InvalidRequest, NotFound, TooManyAttempts, Unavailable
from span_events.ids import IdGenerator
from span_events.registry.model import Token
from span_events.registry.store import Store
from tests.bench.clock import ManualClock
from tests.registry.empty import make_registry

ALICE, PASSWORD = "alice@example.com", "correct horse battery"
KEY = b"k" * 32


class Bench:
    """Users and logins over a registry."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.users = Users(store.accounts, IdGenerator(1), self.clock)
        self.identifiers = IdGenerator()
        self.logins = self.open()

    def open(self, key: bytes = KEY, **settings: float) -> Logins:
        """Open the logins as another start of the server would."""
        return Logins(
            self.store.accounts,
            LoginsConfig.model_validate(settings),
            key=key,
            identifiers=self.identifiers,
            clock=self.clock,
        )

    async def refresh(self) -> list[Token]:
        """Look for logins that ended, as the server does."""
        return await self.logins.refresh((await self.store.fingerprints())[1])

    async def log_in(self, email: str = ALICE, password: str = PASSWORD, host: str = "10.0.0.1") -> str:
        """Log in and return the JWT; empty if it is refused."""
        return await self.logins.log_in(email, password, host=host) or ""


@asynccontextmanager
async def one_user(folder: Path) -> AsyncIterator[Bench]:
    """Open a registry with one user."""
    store = Store(await make_registry(folder))
    await store.open()
    bench = Bench(store)
    await bench.users.add(ALICE, PASSWORD, resource="/collections/17dh0cf43jfgl8", write=True)
    yield bench
    await store.close()


@pytest.fixture
async def bench(tmp_path: Path, quick_passwords: None) -> AsyncIterator[Bench]:
    """A registry with one user."""
    async with one_user(tmp_path) as opened:
        yield opened


async def test_a_login_is_worth_a_token_of_the_user(bench: Bench) -> None:
    text = await bench.log_in(" Alice@Example.COM ")
    token = bench.logins.find(text)

    assert token is not None
    assert (token.resource, token.write, token.name) == ("/collections/17dh0cf43jfgl8", True, ALICE)
    assert PASSWORD not in str(await bench.users.all())


@pytest.mark.parametrize(
    ("email", "password"), [(ALICE, "wrong"), (ALICE, ""), ("bob@example.com", PASSWORD), ("", ""), (ALICE, "x" * 5000)]
)
async def test_a_wrong_password_or_name_is_refused(bench: Bench, email: str, password: str) -> None:
    assert await bench.log_in(email, password) == ""
    assert bench.logins.results == {"invalid": 1}


async def test_a_login_ends_by_itself(bench: Bench) -> None:
    text = await bench.log_in()
    token = bench.logins.find(text)
    bench.clock.shift(86_401)

    assert bench.logins.find(text) is None
    assert bench.logins.expired() == [token]
    assert bench.logins.expired() == []
    await bench.refresh()
    assert await bench.store.accounts.logins() == []


async def test_a_logout_ends_one_login(bench: Bench) -> None:
    text, other = await bench.log_in(), await bench.log_in()
    await bench.refresh()
    token = bench.logins.find(text)

    assert await bench.logins.log_out(text)
    assert bench.logins.find(text) is None
    assert await bench.refresh() == [token]
    assert bench.logins.find(other) is not None
    assert not await bench.logins.log_out(text)
    assert not await bench.logins.log_out("nothing")


async def test_a_new_password_ends_the_logins(bench: Bench) -> None:
    """Those of the other users go on."""
    await bench.users.add("bob@example.com", PASSWORD, resource="/", write=False)
    text, other = await bench.log_in(), await bench.log_in("bob@example.com")
    token = bench.logins.find(text)
    await bench.users.change_password(ALICE, "another good password")

    assert await bench.refresh() == [token]
    assert bench.logins.find(text) is None
    assert bench.logins.find(other) is not None
    assert await bench.log_in() == ""
    assert await bench.log_in(password="another good password")


async def test_a_deletion_ends_the_logins(bench: Bench) -> None:
    text = await bench.log_in()
    token = bench.logins.find(text)
    await bench.users.delete(ALICE.upper())

    assert await bench.refresh() == [token]
    assert await bench.refresh() == []
    assert await bench.log_in() == ""
    assert await bench.users.all() == []


async def test_a_password_that_changes_during_the_check_is_not_accepted(bench: Bench) -> None:
    (user,) = await bench.users.all()
    await bench.users.change_password(ALICE, "another good password")

    assert await bench.logins._begin(user) is None
    assert await bench.store.accounts.logins() == []


async def test_logins_survive_a_restart_and_ended_ones_do_not_return(bench: Bench) -> None:
    text, ended = await bench.log_in(), await bench.log_in()
    await bench.logins.log_out(ended)
    again, other_key = bench.open(), bench.open(b"x" * 32)
    await again.load()
    await other_key.load()

    assert again.find(text) == bench.logins.find(text)
    assert again.find(ended) is None
    assert other_key.find(text) is None


async def test_the_oldest_login_ends_when_a_user_has_too_many(bench: Bench) -> None:
    bench.logins = bench.open(per_user=2)
    texts = [await bench.log_in() for _ in range(3)]

    assert len(await bench.refresh()) == 1
    assert [bench.logins.find(each) is not None for each in texts] == [False, True, True]


async def test_guesses_slow_down_per_account_from_all_addresses(bench: Bench) -> None:
    """Not so from an address of the owner, and a minute later no more."""
    await bench.log_in(host="10.0.0.9")
    for number in range(10):
        await bench.log_in(password="guess", host=f"10.0.1.{number}")
    with pytest.raises(TooManyAttempts):
        await bench.log_in(host="10.0.1.99")

    assert await bench.log_in(host="10.0.0.9")
    bench.clock.shift(61)
    assert await bench.log_in(host="10.0.1.99")
    assert bench.logins.results["slowed"] == 1


async def test_guesses_slow_down_per_address_for_all_accounts(bench: Bench) -> None:
    """An IPv6 client may use each address of its /64."""
    for number in range(10):
        await bench.log_in(f"user{number}", host=f"2001:db8::{number + 1}")
    with pytest.raises(TooManyAttempts):
        await bench.log_in(host="2001:db8::ffff")

    assert await bench.log_in(host="2001:db8:0:1::1")


async def test_right_passwords_do_not_slow_down(bench: Bench) -> None:
    assert all([await bench.log_in() for _ in range(25)])
    assert all([await bench.log_in(host="10.0.0.2") for _ in range(25)])


async def test_parallel_guesses_count_from_their_begin(bench: Bench) -> None:
    found = await asyncio.gather(*(bench.log_in(password="guess") for _ in range(30)), return_exceptions=True)

    assert [each for each in found if isinstance(each, str)] == [""] * 10
    assert bench.logins.results == {"invalid": 10, "slowed": 20}


async def test_few_checks_wait(bench: Bench) -> None:
    """A refused one is no failure of its account."""
    bench.logins = bench.open(waiting=2)
    found = await asyncio.gather(*(bench.log_in(host=f"10.0.0.{each}") for each in range(6)), return_exceptions=True)

    assert sum(isinstance(each, Unavailable) for each in found) == 4
    assert bench.logins.results == {"busy": 4, "success": 2}


@pytest.mark.parametrize("email", [ALICE, "nobody@example.com"])
async def test_a_guess_for_an_unknown_user_costs_one_hash_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    """With the same memory, iterations and lanes, so that the time of an answer tells no account names."""
    costs: list[Parameters] = []

    def noted(password: str, hashed: str) -> bool:
        costs.append(extract_parameters(hashed))
        return is_right(password, hashed)

    is_right = passwords.is_right
    monkeypatch.setattr(passwords, "is_right", noted)
    async with one_user(tmp_path) as bench:
        assert await bench.log_in(email, "guess") == ""

    assert costs == [extract_parameters(passwords.hash_of(PASSWORD))]


@pytest.mark.parametrize("password", ["short", "x" * 11, "x" * 201])
async def test_a_password_has_a_length(bench: Bench, password: str) -> None:
    with pytest.raises(InvalidRequest, match="characters, not 12 to 200"):
        await bench.users.add("bob", password, resource="/", write=False)


@pytest.mark.parametrize("email", ["", " ", "a b", "a\nb", "x" * 255])
async def test_an_account_name_has_a_form(bench: Bench, email: str) -> None:
    with pytest.raises(InvalidRequest, match="account name"):
        await bench.users.add(email, PASSWORD, resource="/", write=False)


async def test_users_are_unique_and_unknown_ones_are_named(bench: Bench) -> None:
    with pytest.raises(Conflict, match="There is a user alice"):
        await bench.users.add(ALICE.upper(), PASSWORD, resource="/", write=False)
    with pytest.raises(NotFound, match="There is no user bob"):
        await bench.users.delete("bob")
    with pytest.raises(NotFound, match="There is no user bob"):
        await bench.users.change_password("bob", PASSWORD)


def test_a_password_is_the_same_on_every_keyboard() -> None:
    """Composed and decomposed letters (Unicode NFKC)."""
    assert passwords.is_right("pa\u0308sswörter und mehr", passwords.hash_of("pässwo\u0308rter und mehr"))
    assert not passwords.is_right("", passwords.NOBODY)
    assert not passwords.is_right("x", "no hash")
