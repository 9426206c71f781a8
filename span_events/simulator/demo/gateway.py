"""The gateway of ``serve --demo``: over TLS to this very server, with sensors behind it, and a fault now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509

from span_events.clock import Clock
from span_events.errors import SpanEventsError
from span_events.fleet.certificates import Certificates, Owner
from span_events.log import get_logger
from span_events.pki import files, issuing
from span_events.registry.model import Device, Gateway
from span_events.simulator.gateways.control_stream import Credentials
from span_events.simulator.gateways.faults import NEED_CERTIFICATE, run_with_faults
from span_events.simulator.gateways.gateway import SimulatedGateway
from span_events.simulator.sockets import Address

RATE: Final = 0.2
"""Messages a second of both sensors together."""
FAULT_PAUSE: Final = 40.0
"""Mean seconds between two faults."""
FAULTS: Final = ("foreignDevice", "twice", "wrongCertificate", "reset", "badMessage", "vanish")
"""Faults of the demo's gateway, in turn."""
RETRY: Final = 60.0
"""Seconds until the next attempt without a certificate or connection."""
SERVER_NAME: Final = "localhost"
"""In the server's certificate whatever address is bound."""
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"


class Keyring:
    """
    The certificates of the demo, kept in files: an owner may have only so many, and a demo is started often.

    Args:
        folder: The data directory.
    """

    def __init__(self, folder: Path, certificates: Certificates, clock: Clock) -> None:
        self._folder = folder
        self._certificates = certificates
        self._clock = clock

    async def credentials(self, owner: Owner, name: str) -> Credentials:
        """
        Return key and certificate of an owner; renew them shortly before they expire.

        Args:
            name: Name of the file.

        Raises:
            SpanEventsError: The certificate cannot be issued, or not be written.
        """
        path = self._folder / name
        key, begin, certificates = (files.read(path) or b"").partition(_BEGIN)
        kept = Credentials(begin + certificates, key)
        if begin and not self._certificates.verify(owner, kept.certificates_pem) and self.seconds_left(kept) > 0:
            return kept
        signed = await self._certificates.create(owner)
        files.replace(path, signed.private_key_pem + signed.pem + signed.chain_pem)
        return Credentials(signed.pem + signed.chain_pem, signed.private_key_pem)

    def seconds_left(self, credentials: Credentials) -> float:
        """Return how long a certificate should still be used: the last third of its life is for renewal."""
        period = issuing.period_of(x509.load_pem_x509_certificate(credentials.certificates_pem))
        return period.end - (period.end - period.begin) / 3 - self._clock.time_ns() / 1e9


async def run_demo_gateway(*, target: Address, gateway: Gateway, sensors: Sequence[Device], keyring: Keyring) -> None:
    """
    Connect, send and misbehave until cancelled. Cancelling ends the stream in order.

    Args:
        target: Where this server listens for gateways.
        sensors: Devices behind the gateway; the first one's certificate is the wrong one.
    """
    log = get_logger("simulator.demo")

    def tell(word: str, sentence: str) -> None:
        log.debug("demo_gateway", what=word, seen=sentence)

    while True:
        try:
            credentials = await keyring.credentials(gateway, "demo-gateway.pem")
            wrong = await keyring.credentials(sensors[0], "demo-sensor.pem") if sensors else None
            simulated = SimulatedGateway(credentials, target, server_name=SERVER_NAME, rate=RATE, tell=tell)
            faults = [each for each in FAULTS if wrong is not None or each not in NEED_CERTIFICATE]
            async with asyncio.timeout(max(RETRY, keyring.seconds_left(credentials))):
                await run_with_faults(simulated, faults, pause=FAULT_PAUSE, tell=tell, wrong=wrong)
        except TimeoutError:
            continue  # the certificate is to be renewed
        except SpanEventsError as exc:  # for example a removed gateway, or a registry that cannot be written
            log.warning("demo_gateway_waits", why=str(exc), seconds=RETRY)
            await asyncio.sleep(RETRY)
