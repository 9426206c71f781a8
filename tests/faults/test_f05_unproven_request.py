"""F05: a RADIUS request with a wrong secret, or without Message-Authenticator where it is required."""

from __future__ import annotations

from span_events.events.reasons import CiotRejectedReason
from tests.bench.peers.radclient import START, radclient
from tests.faults.mobile import ADDRESSES, NAS, SUSPECT, MobileScene
from tests.faults.scene import check_words


async def test_a_wrong_secret_gets_no_answer_and_an_event(mobile: MobileScene) -> None:
    """An attacker learns nothing (RFC 2865 section 3); the operator gets the name of the NAS."""
    answer = await mobile.ask(secret="another secret", without="NAS-Port-Type", nas=SUSPECT)
    event = await mobile.everything.until("ciotRejected", reason="badSecret", nas=SUSPECT)
    names = await mobile.scene.names_until_now()

    assert answer.kind == ""
    assert event["data"].pop("remoteAddress").startswith(f"{ADDRESSES[SUSPECT]}:")
    assert event["data"] == {"reason": "badSecret", "nas": SUSPECT}
    assert event.keys().isdisjoint({"collectionId", "deviceId", "gatewayId"})
    check_words(event, "error", CiotRejectedReason.BAD_SECRET.hint)
    assert names == []


async def test_a_request_without_message_authenticator_gets_no_answer_and_an_event(mobile: MobileScene) -> None:
    """Nothing else in an Access-Request proves its sender (RFC 3579, and CVE-2024-3596)."""
    answer = await mobile.ask(without="Message-Authenticator")
    event = await mobile.everything.until("ciotRejected", reason="missingAuthenticator")

    assert answer.kind == ""
    assert event["data"].pop("remoteAddress").startswith("127.0.0.1:")
    assert event["data"] == {"reason": "missingAuthenticator", "nas": NAS}
    check_words(event, "error", CiotRejectedReason.MISSING_AUTHENTICATOR.hint)


async def test_the_right_secret_is_the_cure(mobile: MobileScene) -> None:
    """The log has neither the secret nor a whole IMSI."""
    await mobile.ask(secret="another secret", without="NAS-Port-Type")
    answer = await mobile.ask()

    assert answer.kind == "Access-Accept"
    assert "another secret" not in mobile.server.log
    assert mobile.sim.imsi not in mobile.server.log


async def test_a_forged_start_assigns_no_address(mobile: MobileScene) -> None:
    """Accounting is proven by its authenticator (RFC 2866 section 3)."""
    fields: dict[str, str | None] = {**START, **mobile.sim.fields, "Framed-IP-Address": mobile.address}
    port = int(mobile.server.addresses["radius-accounting"].rpartition(":")[2])
    answer = await radclient(port, "acct", fields, secret="another secret", seconds=0.5)
    mobile.scene.udp().send(b"hello")
    event = await mobile.everything.until("messageRejected")

    assert answer.kind == ""
    assert event["data"]["reason"] == "unknownAddress"
    assert event["data"]["remoteAddress"].startswith(f"{mobile.address}:")
