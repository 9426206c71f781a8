"""The mobile core of the benchmarks: the requests of a PGW, also wrong ones, and a port to send them from."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator, Sequence

from scripts.benchmarks.servers.radius import DEVICES, imeisv, imsi
from tests.wire.radius.building import access_request, accounting_request, attribute, attributes_of, of_3gpp

IN_FLIGHT = 256
"""As many as a port of a NAS can have: there are no more identifiers."""
PATIENCE = 60.0
"""Seconds that all answers may take together."""
PAUSE = 0.0005
"""Seconds between two looks for answers: a client that sleeps until one comes makes each send pay for waking it."""
STATUS = {"Start": 1, "Interim-Update": 3, "Stop": 2}
"""Acct-Status-Type."""


def attaching(cycle: int) -> list[bytes]:
    """Write an Access-Request of each device."""
    generator = random.Random(cycle)
    return [
        access_request(
            _device(number) + attribute(2, generator.randbytes(16)),
            identifier=number % IN_FLIGHT,
            authenticator=generator.randbytes(16),
        )
        for number in range(DEVICES)
    ]


def reported(what: str, cycle: int, accepts: Sequence[bytes]) -> list[bytes]:
    """
    Write accounting of each device.

    Args:
        accepts: What they were let in with; Framed-IP-Address and Class come back.
    """
    leases = [[each for each in attributes_of(accept) if each[0] in (8, 25)] for accept in accepts]
    return [
        accounting_request(
            _device(number)
            + b"".join(attribute(*each) for each in leases[number])
            + attribute(40, struct.pack("!I", STATUS[what]))
            + attribute(44, b"C0000201%04X%04X" % (cycle, number)),
            identifier=number % IN_FLIGHT,
        )
        for number in range(DEVICES)
    ]


def garbage(seed: int) -> Iterator[bytes]:
    """Write requests of which none may be believed: random octets, unsigned, signed by a guess, or tampered with."""
    generator = random.Random(seed)
    while True:
        body = _device(generator.randrange(DEVICES))
        authenticator = generator.randbytes(16)
        tampered = bytearray(
            access_request(body, authenticator=authenticator) if generator.random() < 0.5 else accounting_request(body)
        )
        tampered[generator.randrange(len(tampered))] ^= generator.randrange(1, 256)
        yield generator.randbytes(generator.randrange(300))
        yield access_request(body, signed=False, authenticator=authenticator)
        yield access_request(body, secret=b"a guess at the secret", authenticator=authenticator)
        yield accounting_request(body, secret=b"a guess at the secret")
        yield bytes(tampered)


def _device(number: int) -> bytes:
    """Write what all requests of a device have in common."""
    numbers = ((6, 2), (7, 7), (61, 18))
    return (
        attribute(1, b"4790000001")
        + attribute(4, bytes((192, 0, 2, 10)))
        + attribute(32, b"pgw1")
        + b"".join(attribute(kind, struct.pack("!I", value)) for kind, value in numbers)
        + attribute(30, b"mda.test")
        + attribute(31, b"4790000001")
        + of_3gpp((1, imsi(number).encode()))
        + of_3gpp((20, imeisv(number).encode()))
        + _OF_ALL
    )


_OF_ALL = b"".join(
    of_3gpp(each)
    for each in (
        (21, b"\6"),
        (22, bytes.fromhex("8242f210123442f21000a1b2c3")),
        (23, b"\x40\1"),
        (18, b"24201"),
        (8, b"24201"),
        (10, b"5"),
        (12, b"0"),
        (2, bytes(4)),
        (3, bytes(4)),
        (6, bytes((192, 0, 2, 20))),
        (7, bytes((192, 0, 2, 10))),
    )
)
"""RAT, place, time zone, networks, bearer, charging, nodes."""


class Nas:
    """A port of the mobile core, with a request in flight for each identifier."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)

    def ask(self, target: tuple[str, int], requests: Sequence[bytes]) -> list[bytes]:
        """Send requests, a new one for each answer; return the answers in the order of the requests."""
        answers = [b""] * len(requests)
        waiting = dict(enumerate(range(IN_FLIGHT)))
        for number in waiting.values():
            self._socket.sendto(requests[number], target)
        until = time.monotonic() + PATIENCE
        while waiting:
            time.sleep(PAUSE)
            while (answer := self._receive()) is not None:
                if answer[0] not in (2, 5):
                    raise RuntimeError(f"answered with code {answer[0]}")
                number = waiting.pop(answer[1])
                answers[number] = answer
                if number + IN_FLIGHT < len(requests):
                    waiting[answer[1]] = number + IN_FLIGHT
                    self._socket.sendto(requests[number + IN_FLIGHT], target)
            if time.monotonic() > until:
                raise RuntimeError(f"{len(waiting)} of {len(requests)} requests have no answer")
        return answers

    def close(self) -> None:
        """Close the port."""
        self._socket.close()

    def _receive(self) -> bytes | None:
        try:
            return self._socket.recv(4096)
        except BlockingIOError:
            return None
