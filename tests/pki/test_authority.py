"""The authority's keys and certificates: creation, files, renewal."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from span_events.config import PkiConfig
from span_events.errors import StorageUnavailable
from span_events.ids import render
from span_events.pki import issuing
from span_events.pki.authority import Authority, ServerIdentity, server_names
from span_events.pki.issuing import KeyType, is_issued_by
from tests.bench.authorities import certificates_in, open_authority, public_octets
from tests.bench.clock import START_NS, ManualClock

COLLECTION = 0x1000400000000000
DAY = 86_400


@pytest.fixture
async def authority(tmp_path: Path) -> Authority:
    """A new authority."""
    return await open_authority(tmp_path / "pki")


def key_of(identity: ServerIdentity) -> object:
    return load_pem_private_key(identity.key_pem, password=None)


async def test_another_implementation_accepts_the_server(authority: Authority) -> None:
    """The rules of browsers (the CA/Browser Forum's), which are narrower than openssl's."""
    leaf, intermediate = certificates_in(authority.server_identity().certificates_pem)
    root = x509.load_pem_x509_certificate(authority.root_pem)
    at = leaf.not_valid_before_utc
    verifier = PolicyBuilder().store(Store([root])).time(at).build_server_verifier(x509.DNSName("localhost"))

    assert verifier.verify(leaf, [intermediate]) == [leaf, intermediate, root]


async def test_the_key_of_the_server_matches_its_certificate(authority: Authority) -> None:
    identity = authority.server_identity()
    leaf = certificates_in(identity.certificates_pem)[0]
    key = key_of(identity)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    assert key.public_key() == leaf.public_key()
    assert identity.period.end == int(leaf.not_valid_after_utc.timestamp())
    assert identity.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert identity.rsa is not None
    assert isinstance(key_of(identity.rsa), rsa.RSAPrivateKey)
    assert "PRIVATE" not in repr(identity)


async def test_the_root_lasts_twenty_years_and_allows_one_intermediate(authority: Authority) -> None:
    root = x509.load_pem_x509_certificate(authority.root_pem)
    limits = root.extensions.get_extension_for_class(x509.BasicConstraints)

    assert (limits.critical, limits.value.ca, limits.value.path_length) == (True, True, 1)
    assert (root.not_valid_after_utc - root.not_valid_before_utc).days == 20 * 365
    assert isinstance(root.public_key(), ec.EllipticCurvePublicKey)
    assert is_issued_by(root, root)


async def test_a_leaf_names_its_owner_and_lasts_two_weeks(authority: Authority) -> None:
    """Its validity begins an hour before its creation, for devices with a slow clock."""
    issued = await authority.issue(COLLECTION, issuing.make_key().public_key(), name="17kl14hm46h4c2", unit="device")
    found = issued.certificate
    (name,) = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    (unit,) = found.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    now = START_NS // 1_000_000_000

    assert (name.value, unit.value) == ("17kl14hm46h4c2", "device")
    assert issuing.period_of(found) == issuing.Period(now - 3600, now + 14 * DAY)
    assert issuing.purposes_of(found) == [issuing.CLIENT]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


async def test_serial_numbers_are_random_and_have_63_bits(authority: Authority) -> None:
    """The numbers fit the registry's column and Span's int64."""
    key = issuing.make_key().public_key()
    serials = [
        (await authority.issue(COLLECTION, key, name="1", unit="device")).certificate.serial_number for _ in range(64)
    ]

    assert len(set(serials)) == 64
    assert all(0 < each < 1 << 63 for each in serials)
    assert max(serials) >= 1 << 60


async def test_each_collection_has_an_intermediate_of_its_own(authority: Authority) -> None:
    """Concurrent first requests create one intermediate, and listeners are notified once."""
    published: list[bytes] = []
    authority.on_intermediate.append(published.append)
    chains = await asyncio.gather(*(authority.chain_pem(each) for each in (1, 2, 1, 1)))

    assert chains[0] == chains[2] == chains[3] != chains[1]
    assert sorted(published) == sorted(authority.intermediates_pem())
    assert len(published) == 2
    assert all(each.endswith(authority.root_pem) for each in chains)


async def test_the_issuer_identifies_the_collection(authority: Authority) -> None:
    """The issuer's name can be forged; its signature cannot."""
    issued = await authority.issue(COLLECTION, issuing.make_key().public_key(), name="17", unit="device")
    real = certificates_in(issued.chain_pem)[0]
    forger = ec.generate_private_key(ec.SECP256R1())
    forged_issuer = issuing.Issuer(real, forger)  # has the name, not the key
    period = issuing.period_of(issued.certificate)
    forged = issuing.make_leaf(
        forged_issuer, forger.public_key(), name="17", unit="device", purpose=issuing.CLIENT, period=period
    )
    server = certificates_in(authority.server_identity().certificates_pem)[0]

    assert [authority.collection_of(each.issuer.public_bytes()) for each in (issued.certificate, forged, server)] == [
        COLLECTION,
        COLLECTION,
        None,
    ]
    assert [authority.issuer_of(each) for each in (issued.certificate, forged, server)] == [COLLECTION, None, None]


async def test_the_same_files_give_the_same_authority(tmp_path: Path) -> None:
    """Root, intermediates and the server's own survive a restart."""
    first = await open_authority(tmp_path / "pki")
    chain = await first.chain_pem(COLLECTION)
    again = await open_authority(tmp_path / "pki")

    assert again.root_pem == first.root_pem == again.trusted_pem()
    assert again.server_identity() == first.server_identity()
    assert again.intermediates_pem() == first.intermediates_pem()
    assert await again.chain_pem(COLLECTION) == chain


async def test_only_the_owner_may_read_the_files(authority: Authority, tmp_path: Path) -> None:
    await authority.chain_pem(COLLECTION)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()}

    assert modes == dict.fromkeys(
        ["root.pem", "servers.pem", "server-ec.pem", "server-rsa.pem", f"collection-{render(COLLECTION)}.pem"], 0o600
    )
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700


async def test_two_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """The first process creates the root; the others load it."""
    made = await asyncio.gather(*(Authority.open(tmp_path / "pki", _config(), ManualClock()) for _ in range(4)))

    assert len({each.root_pem for each in made}) == 1


async def test_installations_do_not_share_names(tmp_path: Path) -> None:
    """Otherwise the certificates of two installations could be confused."""
    made = [await Authority.open(tmp_path / name, _config(), ManualClock()) for name in ("one", "two")]
    names = {x509.load_pem_x509_certificate(each.root_pem).subject.rfc4514_string() for each in made}

    assert len(names) == 2


async def test_the_server_is_renewed_when_a_third_of_its_time_is_left(tmp_path: Path) -> None:
    """The renewal needs no restart and gives a new identity object."""
    clock = ManualClock()
    authority = await open_authority(tmp_path / "pki", clock)
    before = authority.server_identity()
    clock.shift(59 * DAY)
    early = await authority.renew()
    same = authority.server_identity()
    clock.shift(2 * DAY)
    late = await authority.renew()
    after = authority.server_identity()

    assert (early, late) == (False, True)
    assert same is before
    assert after.period.end > before.period.end
    assert after.rsa is not None
    assert before.rsa is not None
    assert after.rsa.key_pem != before.rsa.key_pem
    assert not await authority.renew()
    assert (await open_authority(tmp_path / "pki", clock)).server_identity() == after


async def test_new_names_make_a_new_certificate(tmp_path: Path) -> None:
    """At the next start."""
    first = await open_authority(tmp_path / "pki")
    names = ("data.example.org", "*.lab.example", "192.0.2.7", "2001:db8::7")
    again = await open_authority(tmp_path / "pki", server_names=names)
    leaf = certificates_in(again.server_identity().certificates_pem)[0]

    assert again.root_pem == first.root_pem
    assert issuing.server_names_of(leaf)[:4] == list(names)
    assert {"localhost", "127.0.0.1", "::1"} <= set(issuing.server_names_of(leaf))
    assert leaf.subject.rfc4514_string().startswith("CN=data.example.org,")


def test_a_host_name_that_is_no_dns_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my_computer")

    assert server_names(["::1"]) == ["::1", "localhost", "127.0.0.1"]


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
@pytest.mark.parametrize("name", ["root.pem", "servers.pem", "collection-17.pem"])
async def test_a_damaged_file_is_reported_and_kept(tmp_path: Path, name: str, content: bytes) -> None:
    """A new root would lock out every device; that is for people to decide."""
    await open_authority(tmp_path / "pki")
    path = tmp_path / "pki" / name
    path.write_bytes(content)
    with pytest.raises(StorageUnavailable, match=f"{name}: is not a key with its certificate in PEM") as caught:
        await open_authority(tmp_path / "pki")

    assert "backup" in caught.value.hint
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["server-ec.pem", "server-rsa.pem"])
async def test_a_damaged_file_of_the_server_is_replaced(tmp_path: Path, name: str) -> None:
    """Only the server uses this file, and clients trust its replacement."""
    first = await open_authority(tmp_path / "pki")
    (tmp_path / "pki" / name).write_bytes(b"nonsense")
    again = await open_authority(tmp_path / "pki")

    assert again.root_pem == first.root_pem
    assert again.server_identity() != first.server_identity()
    assert (await open_authority(tmp_path / "pki")).server_identity() == again.server_identity()


@pytest.mark.parametrize("name", ["server-ec.pem", "server-rsa.pem"])
@pytest.mark.parametrize("kind", list(KeyType))
async def test_a_certificate_of_the_server_with_another_key_is_replaced(
    tmp_path: Path, name: str, kind: KeyType
) -> None:
    """A restored half of the files, for example: every handshake would fail."""
    first = await open_authority(tmp_path / "pki")
    path = tmp_path / "pki" / name
    _, marker, certificate = path.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    path.write_bytes(issuing.key_pem(issuing.make_key(kind)) + marker + certificate)
    again = await open_authority(tmp_path / "pki")

    assert again.server_identity() != first.server_identity()
    assert (await open_authority(tmp_path / "pki")).server_identity() == again.server_identity()


async def test_a_key_of_the_server_with_a_changed_bit_is_replaced(tmp_path: Path) -> None:
    first = await open_authority(tmp_path / "pki")
    path = tmp_path / "pki" / "server-rsa.pem"
    lines = path.read_bytes().split(b"\n")
    modulus = 3  # the line of its digits
    lines[modulus] = (b"B" if lines[modulus][:1] == b"A" else b"A") + lines[modulus][1:]
    path.write_bytes(b"\n".join(lines))
    again = await open_authority(tmp_path / "pki")

    assert again.server_identity() != first.server_identity()
    assert again.root_pem == first.root_pem


async def test_a_certificate_with_another_key_is_refused(tmp_path: Path) -> None:
    await open_authority(tmp_path / "pki")
    root, servers = tmp_path / "pki" / "root.pem", tmp_path / "pki" / "servers.pem"
    key = servers.read_bytes().partition(b"-----BEGIN CERT")[0]
    certificate = root.read_bytes().removeprefix(root.read_bytes().partition(b"-----BEGIN CERT")[0])
    root.write_bytes(key + certificate)

    with pytest.raises(StorageUnavailable, match="the key is not that of the certificate"):
        await open_authority(tmp_path / "pki")


async def test_foreign_files_in_the_folder_are_ignored(tmp_path: Path) -> None:
    """An editor may leave such a copy."""
    first = await open_authority(tmp_path / "pki")
    (tmp_path / "pki" / "collection-XYZ.pem").write_bytes(b"")
    (tmp_path / "pki" / "notes.txt").write_text("mine")

    assert (await open_authority(tmp_path / "pki")).root_pem == first.root_pem


async def test_a_leaf_never_outlives_its_issuer(tmp_path: Path) -> None:
    clock = ManualClock()
    authority = await open_authority(tmp_path / "pki", clock, validity=30 * 365 * DAY)
    issued = await authority.issue(COLLECTION, issuing.make_key().public_key(), name="17", unit="device")
    root = x509.load_pem_x509_certificate(authority.root_pem)

    assert issued.certificate.not_valid_after_utc == root.not_valid_after_utc
    assert public_octets(issued.certificate) != public_octets(root)


def _config() -> PkiConfig:
    return PkiConfig()


async def test_a_lost_root_is_not_replaced_silently(tmp_path: Path) -> None:
    """With a new root, all handshakes would fail without a visible cause."""
    await open_authority(tmp_path / "pki")
    (tmp_path / "pki" / "root.pem").unlink()
    with pytest.raises(StorageUnavailable, match=r"root\.pem: is missing") as caught:
        await open_authority(tmp_path / "pki")

    assert caught.value.hint.startswith("Restore the file from a backup.")
    assert not (tmp_path / "pki" / "root.pem").exists()


@pytest.mark.parametrize("name", ["servers.pem", f"collection-{render(COLLECTION)}.pem"])
async def test_files_of_two_authorities_are_not_mixed(tmp_path: Path, name: str) -> None:
    """Mixed files come from an incomplete restore of a backup."""
    for folder in ("one", "two"):
        made = await Authority.open(tmp_path / folder, _config(), ManualClock())
        await made.chain_pem(COLLECTION)
    (tmp_path / "one" / name).write_bytes((tmp_path / "two" / name).read_bytes())
    with pytest.raises(StorageUnavailable, match=f"{name}: was not signed by root"):
        await Authority.open(tmp_path / "one", _config(), ManualClock())


async def test_no_certificate_is_created_with_an_obviously_wrong_clock(tmp_path: Path) -> None:
    """A root, an intermediate, a leaf, the server's own: each would have expired when the clock is right."""
    clock = ManualClock()
    clock.earliest_ns = START_NS + 1
    with pytest.raises(StorageUnavailable, match="before this release was made") as caught:
        await Authority.open(tmp_path / "pki", _config(), clock)
    nothing = not (tmp_path / "pki").exists()
    clock.step(1)
    authority = await Authority.open(tmp_path / "pki", _config(), clock)
    shown = authority.server_identity()
    clock.step(-50 * 365 * DAY)
    for making in (authority.renew(), authority.chain_pem(COLLECTION)):
        with pytest.raises(StorageUnavailable, match="before this release was made"):
            await making
    fault = authority.fault()

    assert nothing
    assert "Set the clock" in caught.value.hint
    assert authority.server_identity() is shown
    assert fault == "the clock of this machine shows a moment before this release"


async def test_certificates_made_with_a_fast_clock_are_replaced_or_reported(tmp_path: Path) -> None:
    """Clients trust the root, so the server's chain can be replaced; a device's intermediate cannot."""
    clock = ManualClock()
    await Authority.open(tmp_path / "pki", _config(), clock)
    clock.step(2 * 365 * DAY)
    for each in ("servers.pem", "server-ec.pem", "server-rsa.pem"):
        (tmp_path / "pki" / each).unlink()
    ahead = await Authority.open(tmp_path / "pki", _config(), clock)
    await ahead.chain_pem(COLLECTION)
    clock.step(-2 * 365 * DAY)
    back = await Authority.open(tmp_path / "pki", _config(), clock)
    now = START_NS // 1_000_000_000
    leaf, intermediate = certificates_in(back.server_identity().certificates_pem)
    with pytest.raises(StorageUnavailable, match=r"collection-.*: is valid from"):
        await back.issue(COLLECTION, issuing.make_key().public_key(), name="17", unit="device")

    assert ahead.fault() != ""  # the same clock: it was set back
    assert back.fault() == ""
    assert all(issuing.period_of(each).begin <= now <= issuing.period_of(each).end for each in (leaf, intermediate))
