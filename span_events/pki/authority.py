"""
The authority of this installation: its root, an intermediate per collection, and one for servers.

Everything is in one folder, each key with its certificate in one file::

    root.pem                 signs the intermediates
    collection-ID.pem        signs the certificates of a collection's devices and gateways
    servers.pem              signs the server's own
    server-ec.pem            key and certificate that the server shows
    server-rsa.pem           the same for clients that know only RSA

Files are made when they are first needed and live as long as the root, but for the last two, which
are renewed. Losing the folder means a new root: every device needs a new certificate then.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from span_events import ids
from span_events.clock import Clock
from span_events.config import PkiConfig
from span_events.errors import InvalidRequest, StorageUnavailable
from span_events.log import get_logger
from span_events.pki import files, issuing
from span_events.pki.issuing import Issuer, KeyType, Period, PublicKey

log = get_logger("pki")

_ROOT_SECONDS: Final = 20 * 365 * 86_400
_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")
_COLLECTION: Final = "collection-"
_MAX_COMMON_NAME: Final = 64
"""Characters (ub-common-name, RFC 5280 appendix A.1)."""
_RENEW_AT: Final = 1 / 3
"""Part of its time that a server's certificate has left when it is renewed."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Identity of the server in handshakes: key and certificates."""

    key_pem: bytes = field(repr=False)
    """PKCS#8."""
    certificates_pem: bytes
    """The leaf, then the intermediate; clients have the root."""
    not_after_ms: int
    """Unix milliseconds."""
    rsa: ServerIdentity | None = None
    """The same with an RSA key."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was just signed."""

    certificate: x509.Certificate
    pem: bytes
    """The leaf alone."""
    chain_pem: bytes
    """The intermediate, then the root."""


class Authority:
    """
    Issues certificates; `open` constructs it.

    Args:
        folder: Folder of its files.
        clock: Wall clock, which decides validity and renewal.
    """

    def __init__(self, folder: Path, config: PkiConfig, clock: Clock, root: Issuer, servers: Issuer) -> None:
        self._folder = folder
        self._config = config
        self._clock = clock
        self._root = root
        self._servers = servers
        self._intermediates: dict[int, Issuer] = {}
        self._by_name: dict[bytes, int] = {}
        self._identity: ServerIdentity | None = None
        self._making = asyncio.Lock()
        self.root_pem = root.certificate_pem
        """The root, which clients must trust."""
        self.on_intermediate: list[Callable[[bytes], None]] = []
        """Called with the certificate (PEM) of each new intermediate, on the event loop."""

    @classmethod
    async def open(cls, folder: Path, config: PkiConfig, clock: Clock) -> Self:
        """
        Read the files, or create them at a first start.

        Raises:
            StorageUnavailable: A file cannot be read or written, or is malformed.
        """
        return await asyncio.to_thread(cls._open, folder, config, clock)

    # ---- look-ups ---------------------------------------------------------------------------

    def server_identity(self) -> ServerIdentity:
        """Return the server's identity; a renewal replaces the object."""
        assert self._identity is not None, "an authority is made by open()"
        return self._identity

    def trusted_pem(self) -> bytes:
        """Return the root, to which a client's certificate must chain."""
        return self.root_pem

    def intermediates_pem(self) -> list[bytes]:
        """
        List the certificates of the collections' intermediates.

        A client may leave its intermediate out of the handshake; a verifier then needs these.
        """
        return [each.certificate_pem for each in self._intermediates.values()]

    def collection_of(self, issuer: bytes) -> int | None:
        """
        Return the collection whose intermediate has a name.

        A name proves nothing: anyone can write it into a certificate. `issuer_of` verifies the signature.

        Args:
            issuer: The issuer of a certificate as DER.
        """
        return self._by_name.get(issuer)

    def issuer_of(self, certificate: x509.Certificate) -> int | None:
        """Return the collection whose intermediate signed a certificate; None if none did."""
        try:
            collection_id = self._by_name.get(certificate.issuer.public_bytes())
        except (ValueError, TypeError):  # a name that cannot be read is none of ours
            return None
        if collection_id is None or not is_issued_by(certificate, self._intermediates[collection_id].certificate):
            return None
        return collection_id

    def leads_to_root(self, certificate: x509.Certificate) -> bool:
        """Return whether a certificate is our root, or bears its signature."""
        return is_issued_by(certificate, self._root.certificate)

    # ---- issuing -----------------------------------------------------------------------------

    async def chain_pem(self, collection_id: int) -> bytes:
        """
        Return the chain above a collection's leaves: intermediate and root.

        Raises:
            StorageUnavailable: The intermediate is new and cannot be written.
        """
        return (await self._intermediate(collection_id)).certificate_pem + self.root_pem

    async def issue(self, collection_id: int, public_key: PublicKey, *, name: str, unit: str) -> Issued:
        """
        Sign the public key of a device or gateway.

        Args:
            name: Span id of the owner, for readers of the certificate; only the serial number identifies it.
            unit: ``device`` or ``gateway``.

        Raises:
            StorageUnavailable: The intermediate is new and cannot be written.
        """
        issuer = await self._intermediate(collection_id)
        certificate = issuing.make_leaf(
            issuer,
            public_key,
            name=name,
            unit=unit,
            purpose=issuing.CLIENT,
            period=self._period(self._config.validity),
        )
        return Issued(certificate, issuing.certificate_pem(certificate), issuer.certificate_pem + self.root_pem)

    async def renew(self) -> bool:
        """
        Make the server's certificates anew if little of their time is left; true if so.

        Raises:
            StorageUnavailable: They cannot be written; the old ones stay.
        """
        async with self._making:
            return await asyncio.to_thread(self._load_identity)

    async def _intermediate(self, collection_id: int) -> Issuer:
        found = self._intermediates.get(collection_id)
        if found is None:
            async with self._making:
                found = self._intermediates.get(collection_id)
                if found is None:
                    name = f"{_COLLECTION}{ids.render(collection_id)}"
                    found = await asyncio.to_thread(self._make_intermediate, name)
                    self._remember(collection_id, found)
                    for tell in self.on_intermediate:
                        tell(found.certificate_pem)
        return found

    # ---- files: in a thread -------------------------------------------------------------------

    @classmethod
    def _open(cls, folder: Path, config: PkiConfig, clock: Clock) -> Self:
        files.prepare_folder(folder)
        period = _period(clock, config.backdate, _ROOT_SECONDS)
        first, second = folder / "root.pem", folder / "servers.pem"
        if second.exists() and not first.exists():  # in this order: another process may be creating them
            raise _not_ours(first, "is missing, but what it has signed is there")
        root = _issuer(first, lambda: issuing.make_root(secrets.token_hex(4), period))
        servers = _issuer(second, lambda: issuing.make_intermediate(root, "servers", period))
        _check_signed(second, servers, root)
        authority = cls(folder, config, clock, root, servers)
        for path in sorted(folder.glob(f"{_COLLECTION}*.pem")):
            try:
                collection_id = ids.parse(path.stem.removeprefix(_COLLECTION))
            except InvalidRequest:
                log.warning("not_a_collections_file", path=str(path))
                continue
            content = files.read(path)
            assert content is not None, "the folder was just listed"
            issuer = _parse(path, content)
            _check_signed(path, issuer, root)
            authority._remember(collection_id, issuer)
        authority._load_identity()
        return authority

    def _make_intermediate(self, name: str) -> Issuer:
        period = self._period(_ROOT_SECONDS)
        return _issuer(self._folder / f"{name}.pem", lambda: issuing.make_intermediate(self._root, name, period))

    def _load_identity(self) -> bool:
        """Read the server's certificates, and renew missing or old ones; return True if any changed."""
        rsa = self._server(KeyType.RSA)
        made = self._server(KeyType.EC)
        identity = ServerIdentity(made.key_pem, made.certificates_pem, made.not_after_ms, rsa)
        if identity == self._identity:
            return False
        self._identity = identity
        return True

    def _server(self, kind: KeyType) -> ServerIdentity:
        path = self._folder / f"server-{kind.value}.pem"
        names = server_names(self._config.server_names)
        found = files.read(path)
        identity = None if found is None else self._parse_server(path, found, names)
        if identity is None:
            key = issuing.make_key(kind)
            certificate = issuing.make_leaf(
                self._servers,
                key.public_key(),
                name=next((each for each in names if len(each) <= _MAX_COMMON_NAME), _ALWAYS[0]),
                unit="server",
                purpose=issuing.SERVER,
                period=self._period(self._config.server_validity),
                server_names=names,
            )
            content = issuing.key_pem(key) + issuing.certificate_pem(certificate)
            files.replace(path, content)
            log.info("server_certificate_made", key=kind.value, names=" ".join(names))
            identity = self._identity_of(content, certificate)
        return identity

    def _parse_server(self, path: Path, content: bytes, names: Iterable[str]) -> ServerIdentity | None:
        """Read a server's file; None if it is time for another one."""
        try:
            certificate = x509.load_pem_x509_certificate(content)
            load_pem_private_key(content, password=None)
        except ValueError as exc:
            log.warning("server_certificate_damaged", path=str(path), detail=str(exc))
            return None
        period = issuing.period_of(certificate)
        left = period.end - self._clock.time_ns() // 1_000_000_000
        if left < (period.end - period.begin) * _RENEW_AT or not is_issued_by(certificate, self._servers.certificate):
            return None
        if set(issuing.server_names_of(certificate)) != set(names):
            return None
        return self._identity_of(content, certificate)

    def _identity_of(self, content: bytes, certificate: x509.Certificate) -> ServerIdentity:
        key, marker, _ = content.partition(b"-----BEGIN CERTIFICATE-----")
        assert marker, "a server's file holds its key, then its certificate"
        chain = issuing.certificate_pem(certificate, self._servers.certificate)
        return ServerIdentity(key, chain, issuing.period_of(certificate).end * 1000)

    def _remember(self, collection_id: int, issuer: Issuer) -> None:
        self._intermediates[collection_id] = issuer
        self._by_name[issuer.certificate.subject.public_bytes()] = collection_id

    def _period(self, seconds: float) -> Period:
        return _period(self._clock, self._config.backdate, seconds)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate bears the name and the signature of an issuer."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False  # another name, kind of key, or key, or no certificate that could be ours
    return True


def server_names(configured: Iterable[str]) -> list[str]:
    """List the names for the server's certificate, the configured ones first, each once."""
    try:
        computer = [PkiConfig(server_names=(socket.gethostname(),)).server_names[0]]
    except ValueError:
        computer = []  # a name with an underscore, say: no certificate could carry it
    return list(dict.fromkeys([*configured, *_ALWAYS, *computer]))


def _period(clock: Clock, backdate: float, seconds: float) -> Period:
    now = clock.time_ns() // 1_000_000_000
    return Period(int(now - backdate), int(now + seconds))


def _issuer(path: Path, make: Callable[[], Issuer]) -> Issuer:
    """Read an issuer's file; make it first if it is not there."""
    content = files.read(path)
    if content is None:
        content = files.create(path, make().pem)
        log.info("authority_file_made", path=str(path))
    return _parse(path, content)


def _parse(path: Path, content: bytes) -> Issuer:
    try:
        return Issuer.read(content)
    except ValueError as exc:
        raise _not_ours(path, f"is not a key with its certificate in PEM: {exc}") from exc


def _check_signed(path: Path, issuer: Issuer, root: Issuer) -> None:
    """Make sure that the files belong together: with those of two authorities every handshake would fail."""
    if not is_issued_by(issuer.certificate, root.certificate):
        raise _not_ours(path, "was not signed by root.pem")


def _not_ours(path: Path, fault: str) -> StorageUnavailable:
    error = StorageUnavailable(f"{path}: {fault}")
    error.hint = (
        "Restore the file from a backup. Without the whole folder a new one is made, which devices do not know."
    )
    return error
