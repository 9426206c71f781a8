"""
Certificates of devices and gateways: issues, verifies, revokes and removes them.

A certificate is found by its serial number, and its owner is in the registry, not in the certificate. So a device that
moves to another collection keeps its certificates: the intermediate of the old collection signed them and stays valid.
A private key that the server creates is returned once and stored nowhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import PkiConfig
from span_events.dialects.span import render_time
from span_events.errors import Conflict, LimitReached, NotFound
from span_events.events.catalogue import CertificateExpiring
from span_events.fleet.identity import Obstacle, obstacles
from span_events.ids import render
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.pki import issuing, requests, verification
from span_events.pki.authority import Authority
from span_events.pki.issuing import KeyType, PublicKey
from span_events.registry.model import Certificate, Collection, Device, Gateway
from span_events.registry.registry import Registry

log = get_logger("certificates")

Owner = Device | Gateway
"""Owner of a certificate."""

_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate for its owner."""

    record: Certificate
    pem: bytes
    """The leaf certificate alone."""
    chain_pem: bytes
    """The intermediate, then the root."""
    private_key_pem: bytes = field(default=b"", repr=False)
    """PKCS#8, if the server created the key; it cannot be returned again."""


class Certificates:
    """The certificates of devices and gateways."""

    def __init__(
        self,
        config: PkiConfig,
        *,
        authority: Authority,
        bus: Bus,
        registry: Registry,
        clock: Clock,
    ) -> None:
        self._config = config
        self._authority = authority
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._warned: dict[int, float] = {}  # by serial number: monotonic time of the last warning, of any node
        self._untold: set[int] = set()  # serial numbers of which this node has warned, for the others
        self.on_revoked: list[Callable[[int], None]] = []
        """Called with the serial number of a revoked certificate, whose sessions must end."""
        self.issued = 0
        """Number of certificates issued since the start."""
        self.revoked = 0
        """Number of certificates revoked since the start."""
        self.expiring = 0
        """Number of published warnings of certificates that expire soon."""

    def metrics(self) -> list[Metric]:
        """Return the metrics."""
        return [
            Metric(
                "certificates",
                "Certificates in the registry, revoked and recently expired ones too.",
                "gauge",
                lambda: len(self._directory.certificates),
            ),
            Metric("certificates_issued", "Certificates issued.", "counter", lambda: self.issued),
            Metric("certificates_revoked", "Certificates revoked.", "counter", lambda: self.revoked),
            Metric(
                "certificates_expiring",
                "Warnings that a certificate in use will expire within pki.warn_before.",
                "counter",
                lambda: self.expiring,
            ),
        ]

    # ---- calls by the API ---------------------------------------------------------------------

    async def chain(self, collection: Collection) -> bytes:
        """Return the intermediate of a collection and the root, as PEM."""
        return await self._authority.chain_pem(collection.id)

    async def create(self, owner: Owner, kind: KeyType = KeyType.EC) -> Signed:
        """
        Create a key and a certificate for a device or gateway.

        Raises:
            Conflict: The gateway is built in.
            LimitReached: The owner has too many certificates.
            NotFound: The owner was removed.
        """
        self._check_count(owner)  # before the effort of creating a key
        if kind is KeyType.EC:
            key = issuing.make_key(kind)
        else:
            async with self._one_at_a_time:  # several at once would compete for the cores
                key = await asyncio.to_thread(issuing.make_key, kind)
        signed = await self._sign(owner, key.public_key())
        return dataclasses.replace(signed, private_key_pem=issuing.key_pem(key))

    async def sign(self, owner: Owner, request_pem: bytes) -> Signed:
        """
        Create a certificate for a device or gateway that created its own key.

        Raises:
            Conflict: The gateway is built in.
            InvalidRequest: The signing request is malformed, or its key is of a kind that is not signed.
            LimitReached: The owner has too many certificates.
            NotFound: The owner was removed.
        """
        return await self._sign(owner, requests.public_key_of(request_pem))

    def verify(self, owner: Owner, pem: bytes) -> list[str]:
        """
        Return the reasons for which a device or gateway could not connect with a certificate; empty if it could.

        Args:
            pem: The certificate, optionally followed by its intermediate and the root.
        """
        try:
            certificates = verification.read(pem)
        except verification.Unreadable as exc:
            return [str(exc)]
        now = self._clock.time_ns() // 1_000_000_000
        return [
            *verification.faults(self._authority, certificates, now),
            *self._faults_of_owner(certificates[0], owner),
        ]

    def list(self, owner: Owner) -> list[Certificate]:
        """Return the certificates of a device or gateway, revoked ones included, the latest expiry first."""
        return sorted(self._directory.certificates_of(owner.id), key=lambda each: each.not_after_ms, reverse=True)

    async def revoke(self, collection: Collection, serial: int) -> Certificate:
        """
        Revoke a certificate, at once and for good; idempotent.

        Args:
            collection: Collection of the owner; if the owner was removed, the collection that issued the certificate.

        Raises:
            NotFound: The collection has no such certificate.
        """
        async with self._registry.lock:
            found = self._directory.certificate_with(serial)
            if found is None or self._directory.origin_of(found).collection_id != collection.id:
                raise NotFound(f"There is no certificate {serial} in collection {render(collection.id)}")
            if found.revoked_ms:
                return found
            revoked = dataclasses.replace(found, revoked_ms=self._clock.time_ns() // 1_000_000)
            await self._registry.store.put_certificate(revoked)
            self._directory.put_certificate(revoked)
        self.revoked += 1
        log.info("certificate_revoked", serial=serial, owner=render(revoked.owner_id))
        for notify in self.on_revoked:
            notify(serial)
        return revoked

    # ---- calls by listeners -------------------------------------------------------------------

    def used(self, certificate: Certificate) -> None:
        """
        Publish a warning, once a day, when a client connects with a certificate that expires soon.

        Of nodes that share a registry one does: `flush` tells the others about once a second.
        """
        now_ms = self._clock.time_ns() // 1_000_000
        left = (certificate.not_after_ms - now_ms) / 1000
        if left >= self._config.warn_before:
            return
        now = self._clock.monotonic()
        if now - self._warned.get(certificate.serial, -_DAY) < _DAY:
            return
        self.warned(certificate.serial)
        self._untold.add(certificate.serial)
        self.expiring += 1
        self._bus.publish(
            CertificateExpiring(
                origin=self._directory.origin_of(certificate),
                not_after=render_time(certificate.not_after_ms // 1000),
                days_left=max(0, int(left // _DAY)),
                certificate_serial=str(certificate.serial),
            )
        )

    def warned(self, serial: int) -> None:
        """Note that a node has warned of a certificate now."""
        self._warned[serial] = self._clock.monotonic()

    # ---- periodic calls -----------------------------------------------------------------------

    async def flush(self) -> None:
        """Tell other nodes of the warnings of this one; a failure is repeated by the next call."""
        untold, self._untold = self._untold, set()
        if not untold or not self._registry.is_shared:
            return
        try:
            await self._registry.store.timers.tell_warned(sorted(untold))
        except BaseException:
            self._untold |= untold
            raise

    async def prune(self) -> None:
        """Remove certificates that expired long ago, unless another node leads; called about once an hour."""
        for serial in self._warned.keys() - self._directory.certificates.keys():
            del self._warned[serial]
        if not self._registry.leads or not self._expired():
            return
        async with self._registry.lock:
            old = self._expired()
            await self._registry.store.delete_certificates([each.serial for each in old])
            for each in old:
                self._directory.remove_certificate(each)

    # ---- parts --------------------------------------------------------------------------------

    def _expired(self) -> Sequence[Certificate]:
        limit = self._clock.time_ns() // 1_000_000 - int(self._config.keep_expired * 1000)
        return [each for each in self._directory.certificates.values() if each.not_after_ms < limit]

    async def _sign(self, owner: Owner, public_key: PublicKey) -> Signed:
        async with self._registry.lock:
            collection = self._check_presence(owner)
            self._check_count(owner)
            issued = await self._authority.issue(
                collection.id, public_key, name=render(owner.id), unit=_kind_of(owner).lower()
            )
            period = issuing.period_of(issued.certificate)
            record = Certificate(
                issued.certificate.serial_number,
                collection.id,
                owner.id if isinstance(owner, Device) else None,
                owner.id if isinstance(owner, Gateway) else None,
                period.begin * 1000,
                period.end * 1000,
            )
            await self._registry.store.put_certificate(record)
            self._directory.put_certificate(record)
        self.issued += 1
        log.info("certificate_issued", serial=record.serial, owner=render(owner.id))
        return Signed(record, issued.pem, issued.chain_pem)

    def _check_presence(self, owner: Owner) -> Collection:
        if isinstance(owner, Device):
            return self._directory.device(owner.collection.id, owner.id).collection
        if owner.built_in:
            raise Conflict(f"Gateway {render(owner.id)} is built in: it has no certificates", field="gatewayId")
        return self._directory.gateway(owner.collection.id, owner.id).collection

    def _check_count(self, owner: Owner) -> None:
        now_ms = self._clock.time_ns() // 1_000_000
        valid = sum(each.not_after_ms >= now_ms for each in self._directory.certificates_of(owner.id))
        if valid >= self._config.per_device:
            raise LimitReached(
                f"{_kind_of(owner)} {render(owner.id)} has {valid} certificates that have not expired (pki.per_device)",
                hint="Use one of them, or wait until one expires; revoked ones count until then.",
            )

    def _faults_of_owner(self, leaf: x509.Certificate, owner: Owner) -> Iterator[str]:
        if self._authority.issuer_of(leaf) is None:
            return  # only serial numbers of our own certificates identify a record
        found = self._directory.certificate_with(leaf.serial_number)
        for obstacle in obstacles(found, owner, type(owner)):
            if obstacle is Obstacle.UNKNOWN_SERIAL:
                serial = leaf.serial_number
                yield f"is not in the registry (serial number {serial}): it expired long ago, or the registry is older"
            elif obstacle is Obstacle.REVOKED and found is not None:
                yield f"was revoked at {render_time(found.revoked_ms // 1000)} UTC"
        if found is not None and found.owner_id != owner.id:
            wanted = f"{_kind_of(owner).lower()} {render(owner.id)}"
            yield f"belongs to {self._name_owner(found, owner.collection)}, not to {wanted}"

    def _name_owner(self, certificate: Certificate, collection: Collection) -> str:
        """Return the name of an owner, but hide it from users of other collections."""
        kind = "device" if certificate.gateway_id is None else "gateway"
        if self._directory.origin_of(certificate).collection_id != collection.id:
            return f"a {kind} of another collection"
        removed = self._directory.owner_of(certificate) is None
        return f"{kind} {render(certificate.owner_id)}" + (", which was removed" if removed else "")


def _kind_of(owner: Owner) -> str:
    return "Device" if isinstance(owner, Device) else "Gateway"
