"""A RADIUS server of a few lines, made of the codec of the real one: it records what it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from span_events.simulator.cellular.mobile_core import MobileCore
from span_events.simulator.cellular.radius_client import Patience
from span_events.wire.radius.attributes_3gpp import Mobile, read
from span_events.wire.radius.packets import (
    Attribute,
    Code,
    RadiusRequest,
    StatusType,
    Verdict,
    accept,
    accounting_response,
    decode,
    reject,
    settings_of,
    verify,
)
from tests.bench.waiting import PATIENCE
from tests.simulator.responder import Responder

SECRET: Final = b"a secret of the tests"
QUICK: Final = Patience(timeout=0.05, tries=2)
"""For what gets no answer."""
STEADY: Final = Patience(timeout=0.05, tries=round(PATIENCE / 0.05))
"""For what gets an answer, however busy the machine is."""
CLASS: Final = b"any octets"


class RadiusServer:
    """Lets everybody in, with addresses one after the other; use it as a context manager within a running loop."""

    def __init__(self, *, addresses: Sequence[str] = ("127.77.3.1",), interim_interval: int = 0) -> None:
        self.refused: set[str] = set()
        """IMSIs and IMEIs that are not let in."""
        self.unanswered: set[str] = set()
        """What gets no answer, in the words of ``told``."""
        self.requests: list[tuple[RadiusRequest, Mobile]] = []
        """What proved itself, in order."""
        self.reported: list[tuple[str, str, str]] = []
        """The same for people: what (``ask``, or the kind of accounting), IMSI, address."""
        self.dropped = 0
        self.addresses = iter(addresses)
        """What is given out next; where it ends, the choice is the core's."""
        self._cores: list[MobileCore] = []
        self._answers: dict[bytes, bytes] = {}
        self._settings = settings_of(dns=(), interim_interval=interim_interval)
        self.authentication = Responder(self._answer)
        self.accounting = Responder(self._answer)

    def __enter__(self) -> Self:
        self.authentication.__enter__()
        self.accounting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for core in self._cores:
            core.close()
        self.authentication.__exit__(kind, exc, traceback)
        self.accounting.__exit__(kind, exc, traceback)

    def core(self, *, secret: bytes = SECRET, patience: Patience | None = None) -> MobileCore:
        """Return a mobile core of this server; both close together."""
        core = MobileCore(
            self.authentication.address, self.accounting.address, secret, address="192.0.2.10", patience=patience
        )
        self._cores.append(core)
        return core

    def _answer(self, datagram: bytes) -> Iterable[bytes]:
        request = decode(datagram, SECRET)
        if verify(request) is not Verdict.PROVEN:
            self.dropped += 1
            return
        if request.authenticator in self._answers:  # a slow machine has let the client ask again
            yield self._answers[request.authenticator]
            return
        mobile = read(request.values(Attribute.VENDOR_SPECIFIC))
        self.requests.append((request, mobile))
        status = request.number(Attribute.ACCT_STATUS_TYPE)
        what = "ask" if status is None else StatusType(status).name.lower().replace("_", "-")
        self.reported.append((what, mobile.imsi or "", request.framed_address()))
        if what in self.unanswered:
            return
        answer = self._answers[request.authenticator] = self._decide(request, mobile)
        yield answer

    def _decide(self, request: RadiusRequest, mobile: Mobile) -> bytes:
        if request.code == Code.ACCOUNTING_REQUEST:
            return accounting_response(request)
        if self.refused & {mobile.imsi, mobile.equipment.imei if mobile.equipment else None}:
            return reject(request, "Not admitted.")
        address = next(self.addresses, "")
        return accept(request, address=address, prefix="", class_=CLASS, settings=self._settings)
