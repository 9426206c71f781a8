"""R6: a client with a forged source address makes the server send a third party more than it sent itself."""

from __future__ import annotations

from contextlib import closing

from tests.attacks.bystander import bystander
from tests.bench.live import LiveServer
from tests.listeners.coap.bench import RawClient

REQUESTS = 2_000


async def test_R6_strangers_get_no_more_than_they_sent(server: LiveServer) -> None:
    """CON requests of 4 octets: answers of 4, and only 120 a minute for a prefix; another device is not hurt."""
    async with bystander(server) as seen:
        with closing(server.socket_at("127.77.0.1", "coap")) as stranger:
            for number in range(REQUESTS):
                stranger.send(b"\x40\x01" + number.to_bytes(2, "big"))
            answers = await _answers_of(stranger, server)
    ratio = sum(map(len, answers)) / (4 * REQUESTS)
    print(f"amplification {ratio:.3f}, {len(answers)} of {REQUESTS} answered")  # noqa: T201  # the figure of the run

    seen.check()
    assert {len(each) for each in answers} == {4}
    assert len(answers) == 120
    assert ratio < 1


async def test_R6_a_non_of_a_stranger_gets_no_answer(server: LiveServer) -> None:
    """With and without an unknown critical option (RFC 7252 §5.4.1)."""
    with closing(server.socket_at("127.77.0.2", "coap")) as stranger:
        for octets in ("50010001", "5001000290", "500200039078"):
            stranger.send(bytes.fromhex(octets))
        answers = await _answers_of(stranger, server)

    assert answers == []


async def _answers_of(stranger: RawClient, server: LiveServer) -> list[bytes]:
    """Wait until the server has taken everything, and take the answers from the socket."""
    assert await server.still_serves()
    answers = []
    while (answer := stranger.take()) is not None:
        answers.append(answer)
    return answers
