"""TLS and DTLS engines: made with the server's identities, and kept current when those are renewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from span_events.clock import Clock
from span_events.pki.authority import Authority
from span_events.wire.dtls.openssl import OpensslEngine
from span_events.wire.openssl import Identity
from span_events.wire.tls.openssl import TlsEngine


class Engines:
    """Makes engines, and passes new intermediates and renewed certificates of the server on to them."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self.on_renewed: list[Callable[[Sequence[Identity]], None]] = []
        """Called with the server's identities after they were renewed."""

    def dtls(self, *, mtu: int) -> OpensslEngine:
        """
        Make the engine of DTLS.

        Args:
            mtu: Largest datagram of a handshake, octets.
        """
        engine = OpensslEngine(self.identities(), self._trusted(), unix_time=self._unix_time, mtu=mtu)
        self._keep_current(engine)
        return engine

    def tls(self, **options: Any) -> TlsEngine:
        """Make an engine of TLS; keywords are those of `TlsEngine`."""
        engine = TlsEngine(self.identities(), self._trusted(), unix_time=self._unix_time, **options)
        self._keep_current(engine)
        return engine

    def identities(self) -> list[Identity]:
        """Return the server's identities for handshakes, one for each kind of key."""
        shown = self._authority.server_identity()
        found = [Identity(shown.key_pem, shown.certificates_pem)]
        return found + ([Identity(shown.rsa.key_pem, shown.rsa.certificates_pem)] if shown.rsa else [])

    def renewed(self) -> None:
        """Present the renewed identities in new handshakes."""
        for present in self.on_renewed:
            present(self.identities())

    def _keep_current(self, engine: OpensslEngine | TlsEngine) -> None:
        self._authority.on_intermediate.append(engine.trust)
        self.on_renewed.append(engine.present)

    def _trusted(self) -> bytes:
        """Return the certificates that clients' certificates must chain to, PEM."""
        return self._authority.trusted_pem() + b"".join(self._authority.intermediates_pem())

    def _unix_time(self) -> int:
        return self._clock.time_ns() // 1_000_000_000
