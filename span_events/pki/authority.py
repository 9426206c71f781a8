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
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from cryptography import x509

from span_events import ids
from span_events.clock import Clock
from span_events.config import PkiConfig
from span_events.errors import InvalidRequest, StorageUnavailable
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.pki import dates, files, issuing
from span_events.pki.issuing import Issuer, KeyType, Period, PublicKey, is_issued_by
from span_events.registry.shared.secrets import SharedSecrets

log = get_logger("pki")

_ROOT_SECONDS: Final = 20 * 365 * 86_400
_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")
_ROOT: Final = "root"
_SERVERS: Final = "servers"
_COLLECTION: Final = "collection-"
_SHARED: Final = "pki/"
"""Begin of the names of what nodes share."""
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
    period: Period
    """Validity of the leaf."""
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
        self._shared: SharedSecrets | None = None
        self._config = config
        self._clock = clock
        self._root = root
        self._servers = servers
        self._intermediates: dict[int, Issuer] = {}
        self._by_name: dict[bytes, int] = {}
        self._identity: ServerIdentity | None = None
        self._making = asyncio.Lock()
        self._marks = deque[int](maxlen=2)
        """The last states of the common intermediates, see `_mark`."""
        self.root_pem = root.certificate_pem
        """The root, which clients must trust."""
        self.on_intermediate: list[Callable[[bytes], None]] = []
        """Called with the certificate (PEM) of each new intermediate, on the event loop."""

    @classmethod
    async def open(
        cls,
        folder: Path,
        config: PkiConfig,
        clock: Clock,
        *,
        shared: SharedSecrets | None = None,
        agree: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> Self:
        """
        Read the files, or create them at a first start.

        Args:
            shared: Root and intermediates of all nodes, of which the files are copies then; None for a single node.
            agree: Called with the root (PEM) before anything is shared; raises if the other nodes have another root.

        Raises:
            StorageUnavailable: A file cannot be read or written, is malformed, or of another authority than ``shared``.
        """
        if shared is None:
            authority = await asyncio.to_thread(cls._open, folder, config, clock)
            if agree is not None:
                await agree(authority.root_pem)
            return authority
        async with shared.first_start():
            found = {Path(name).name: each for name, each in (await shared.read(_SHARED)).items()}
            await asyncio.to_thread(_copy, folder, found)
            authority = await asyncio.to_thread(cls._open, folder, config, clock)
            authority._shared = shared
            if agree is not None:
                await agree(authority.root_pem)
            for name, issuer in authority._common().items():
                if name not in found:
                    await shared.add(_SHARED + name, issuer.pem)
        return authority

    # ---- look-ups ---------------------------------------------------------------------------

    def server_identity(self) -> ServerIdentity:
        """Return the server's identity; a renewal replaces the object."""
        assert self._identity is not None, "an authority is made by open()"
        return self._identity

    def fault(self) -> str:
        """Return the sentence that says why clients refuse the server's certificate now; empty if nothing is wrong."""
        if dates.is_obviously_wrong(self._clock):
            return "the clock of this machine shows a moment before this release"
        for name, period in (
            ("the root", self._root.period),
            ("the server's certificate", self.server_identity().period),
        ):
            found = dates.fault_of(period, self._clock)
            if found:
                return f"{name} {found}"
        return ""

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

    def metrics(self) -> Iterable[Metric]:
        """List the metrics."""
        yield Metric(
            "server_certificate_not_after_timestamp_seconds",
            "End of the server certificate's validity, Unix seconds.",
            "gauge",
            lambda: self.server_identity().period.end,
        )

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
            StorageUnavailable: The intermediate is new and cannot be written, or is not valid now.
        """
        issuer = await self._intermediate(collection_id)
        dates.require_valid(self._collection_path(collection_id), issuer.period, self._clock)
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
        Make the server's certificates anew if little of their time is left, or none has come yet; true if so.

        Raises:
            StorageUnavailable: A file cannot be written, or the authority is not valid now; the old certificates stay.
        """
        async with self._making:
            return await asyncio.to_thread(self._load_identity)

    async def _intermediate(self, collection_id: int) -> Issuer:
        found = self._intermediates.get(collection_id)
        if found is None:
            async with self._making:
                found = self._intermediates.get(collection_id)
                if found is None:
                    path = self._collection_path(collection_id)
                    found = await asyncio.to_thread(self._make_intermediate, path)
                    if self._shared is not None:
                        content = await self._shared.add(_SHARED + path.name, found.pem)
                        found = await asyncio.to_thread(self._take, path, content)
                    self._learn(collection_id, found)
        return found

    async def refresh(self) -> None:
        """
        Take over the intermediates that other nodes made, from the registry or from the folder that all have.

        Nothing is listed if nothing changed, twice in a row: a change right after a listing may leave the same mark.

        Raises:
            StorageUnavailable: The registry or the folder cannot be read, or a file cannot be written.
        """
        async with self._making:
            mark = await self._mark()
            if list(self._marks) == [mark, mark]:
                return
            if self._shared is None:
                found = await asyncio.to_thread(self._new_files)
            else:
                found = await self._shared.read(_SHARED + _COLLECTION, [_SHARED + name for name in self._common()])
            for name, content in found.items():
                path = self._folder / Path(name).name
                issuer = await asyncio.to_thread(self._take, path, content)
                self._learn(ids.parse(path.stem.removeprefix(_COLLECTION)), issuer)
            self._marks.append(mark)

    async def _mark(self) -> int:
        """Return a number that another one replaces when a node adds an intermediate."""
        if self._shared is not None:
            return await self._shared.count(_SHARED + _COLLECTION)
        return await asyncio.to_thread(files.changed_ns, self._folder)

    def _common(self) -> dict[str, Issuer]:
        """Return the issuers that all nodes have in common, by the names of their files."""
        intermediates = {self._collection_path(each).name: issuer for each, issuer in self._intermediates.items()}
        return {f"{_ROOT}.pem": self._root, **intermediates}

    # ---- files: in a thread -------------------------------------------------------------------

    @classmethod
    def _open(cls, folder: Path, config: PkiConfig, clock: Clock) -> Self:
        first, second = folder / f"{_ROOT}.pem", folder / f"{_SERVERS}.pem"
        if second.exists() and not first.exists():  # in this order: another process may be creating them
            raise _not_ours(first, "is missing, but what it has signed is there")
        if not first.exists():
            dates.require_plausible(clock)
        files.prepare_folder(folder)
        period = _period(clock, config.backdate, _ROOT_SECONDS)
        root = _issuer(first, lambda: issuing.make_root(secrets.token_hex(4), period))
        dates.require_valid(first, root.period, clock)
        servers = _issuer(second, lambda: issuing.make_intermediate(root, _SERVERS, period))
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
            fault = dates.fault_of(issuer.period, clock)
            if fault:
                log.warning("authority_file_not_valid", path=str(path), detail=fault)
            authority._remember(collection_id, issuer)
        authority._load_identity()
        return authority

    def _collection_path(self, collection_id: int) -> Path:
        return self._folder / f"{_COLLECTION}{ids.render(collection_id)}.pem"

    def _make_intermediate(self, path: Path) -> Issuer:
        period = self._period(_ROOT_SECONDS)
        return _issuer(path, lambda: issuing.make_intermediate(self._root, path.stem, period))

    def _load_identity(self) -> bool:
        """Read the server's certificates, and renew missing or old ones; return True if any changed."""
        if dates.fault_of(self._servers.period, self._clock):
            self._renew_servers()
        rsa = self._server(KeyType.RSA)
        made = self._server(KeyType.EC)
        identity = ServerIdentity(made.key_pem, made.certificates_pem, made.period, rsa)
        if identity == self._identity:
            return False
        self._identity = identity
        return True

    def _renew_servers(self) -> None:
        """Replace an intermediate that is not valid now: clients trust the root, so the next one serves as well."""
        path = self._folder / f"{_SERVERS}.pem"
        made = issuing.make_intermediate(self._root, _SERVERS, self._period(_ROOT_SECONDS))
        files.replace(path, made.pem)
        self._servers = made
        log.warning("authority_file_renewed", path=str(path), detail="it was not valid at this time")

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
            certificate = issuing.read_pair(content)
        except ValueError as exc:
            log.warning("server_certificate_damaged", path=str(path), detail=str(exc))
            return None
        period = issuing.period_of(certificate)
        now = dates.unix_seconds(self._clock)
        if now < period.begin:
            return None  # made while the clock was ahead
        left = period.end - now
        if left < (period.end - period.begin) * _RENEW_AT or not is_issued_by(certificate, self._servers.certificate):
            return None
        if set(issuing.server_names_of(certificate)) != set(names):
            return None
        return self._identity_of(content, certificate)

    def _identity_of(self, content: bytes, certificate: x509.Certificate) -> ServerIdentity:
        key, marker, _ = content.partition(b"-----BEGIN CERTIFICATE-----")
        assert marker, "a server's file holds its key, then its certificate"
        chain = issuing.certificate_pem(certificate, self._servers.certificate)
        return ServerIdentity(key, chain, issuing.period_of(certificate))

    def _new_files(self) -> dict[str, bytes]:
        """Read the files of intermediates that other processes made."""
        known = self._common().keys()
        paths = [path for path in self._folder.glob(f"{_COLLECTION}*.pem") if path.name not in known]
        return {path.name: content for path in paths if (content := files.read(path)) is not None}

    def _take(self, path: Path, content: bytes) -> Issuer:
        """Write the file of an intermediate, unless it is there, and read it."""
        if files.read(path) != content:
            files.replace(path, content)
        issuer = _parse(path, content)
        _check_signed(path, issuer, self._root)
        return issuer

    def _learn(self, collection_id: int, issuer: Issuer) -> None:
        """Use an intermediate from now on, and report it."""
        self._remember(collection_id, issuer)
        for tell in self.on_intermediate:
            tell(issuer.certificate_pem)

    def _remember(self, collection_id: int, issuer: Issuer) -> None:
        self._intermediates[collection_id] = issuer
        self._by_name[issuer.certificate.subject.public_bytes()] = collection_id

    def _period(self, seconds: float) -> Period:
        """Return a validity that begins about now; every certificate that is made goes through here."""
        dates.require_plausible(self._clock)
        dates.require_valid(self._folder / f"{_ROOT}.pem", self._root.period, self._clock)
        return _period(self._clock, self._config.backdate, seconds)


def server_names(configured: Iterable[str]) -> list[str]:
    """List the names for the server's certificate, the configured ones first, each once."""
    try:
        computer = [PkiConfig(server_names=(socket.gethostname(),)).server_names[0]]
    except ValueError:
        computer = []  # a name with an underscore, say: no certificate could carry it
    return list(dict.fromkeys([*configured, *_ALWAYS, *computer]))


def _period(clock: Clock, backdate: float, seconds: float) -> Period:
    now = dates.unix_seconds(clock)
    return Period(int(now - backdate), int(now + seconds))


def _issuer(path: Path, make: Callable[[], Issuer]) -> Issuer:
    """Read an issuer's file; make it first if it is not there."""
    content = files.read(path)
    if content is None:
        content = files.create(path, make().pem)
        log.info("authority_file_made", path=str(path))
    return _parse(path, content)


def _copy(folder: Path, found: Mapping[str, bytes]) -> None:
    """Write the issuers that all nodes have in common into the folder of this node."""
    files.prepare_folder(folder)
    root = f"{_ROOT}.pem"
    for name in sorted(found, key=lambda each: each != root):
        path = folder / name
        present = files.read(path)
        if present is None:
            files.create(path, found[name])
        elif present != found[name] and name == root:
            error = StorageUnavailable(f"{path}: is not the root of the registry: this folder is another authority's")
            error.hint = f"Move {folder} away: the node gets the keys of the registry at its next start."
            raise error
        elif present != found[name]:
            files.replace(path, found[name])


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
