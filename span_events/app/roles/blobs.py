"""The listeners of blobs: one without TLS, one with it."""

from __future__ import annotations

from span_events.accepting import RefusedAccepts
from span_events.app.engines import Engines
from span_events.clock import Clock
from span_events.config import BlobsConfig
from span_events.fleet.fleet import Fleet
from span_events.listeners.blobs.clients import TOLERATED, PlainAcceptor, TlsAcceptor
from span_events.listeners.blobs.listener import BlobListener
from span_events.listeners.ports import Ports
from span_events.wire.tls.openssl import COMPATIBLE


def blob_listeners(
    config: BlobsConfig, engines: Engines, *, fleet: Fleet, clock: Clock, refused: RefusedAccepts, ports: Ports
) -> list[BlobListener]:
    """Make both listeners; they are not bound yet."""
    secure = TlsAcceptor(
        config,
        engines.tls(protocol=b"", tolerated=TOLERATED, suites=COMPATIBLE),
        reception=fleet.reception,
        identification=fleet.identification,
        used=fleet.certificates.used,
        clock=clock,
        ports=ports,
    )
    plain = PlainAcceptor(fleet.reception, fleet.identification)
    return [
        BlobListener(
            name,
            config,
            setting=setting,
            port=port,
            acceptor=acceptor,
            blobs=fleet.blobs,
            clock=clock,
            refused=refused,
            ports=ports,
        )
        for name, setting, port, acceptor in (
            ("blobs", "blobs.port", config.port, plain),
            ("blobs_tls", "blobs.tls_port", config.tls_port, secure),
        )
    ]
