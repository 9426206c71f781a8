"""`openssl verify` accepts the certificates of the authority by the strict rules of RFC 5280."""

from __future__ import annotations

from pathlib import Path

import pytest

from span_events.pki import issuing
from span_events.pki.authority import Authority
from tests.bench.authorities import certificates_in, open_authority
from tests.bench.clock import START_NS
from tests.bench.programs import run

COLLECTION = 0x1000400000000000


@pytest.fixture
async def authority(tmp_path: Path) -> Authority:
    """A new authority."""
    return await open_authority(tmp_path / "pki")


async def verify(folder: Path, root: bytes, chain: bytes, leaf: bytes, *options: str) -> str:
    """Let openssl verify a leaf at the manual clock's moment; return its output without the file's name."""
    for name, pem in (("root", root), ("chain", chain), ("leaf", leaf)):
        (folder / name).write_bytes(pem)
    at = str(START_NS // 1_000_000_000)
    files = ("-CAfile", str(folder / "root"), "-untrusted", str(folder / "chain"), *options, str(folder / "leaf"))
    return (await run("openssl", "verify", "-x509_strict", "-attime", at, *files)).printed.replace(f"{folder}/", "")


@pytest.mark.parametrize("kind", list(issuing.KeyType))
async def test_openssl_accepts_a_device_certificate_for_clients_only(
    authority: Authority, tmp_path: Path, kind: issuing.KeyType
) -> None:
    """Root, one intermediate, leaf."""
    issued = await authority.issue(COLLECTION, issuing.make_key(kind).public_key(), name="17", unit="device")
    intermediate = issued.chain_pem.removesuffix(authority.root_pem)
    arguments = (tmp_path, authority.root_pem, intermediate, issued.pem)

    assert await verify(*arguments, "-purpose", "sslclient") == "leaf: OK\n"
    assert "unsuitable certificate purpose" in await verify(*arguments, "-purpose", "sslserver")
    assert len(certificates_in(issued.chain_pem)) == 2


async def test_openssl_accepts_the_server_certificates_for_servers_only(authority: Authority, tmp_path: Path) -> None:
    """The EC and the RSA certificate are valid under every name of the server."""
    identity = authority.server_identity()
    assert identity.rsa is not None
    for each in (identity, identity.rsa):
        leaf, intermediate = map(issuing.certificate_pem, certificates_in(each.certificates_pem))
        arguments = (tmp_path, authority.root_pem, intermediate, leaf)

        assert await verify(*arguments, "-purpose", "sslserver", "-verify_hostname", "localhost") == "leaf: OK\n"
        assert await verify(*arguments, "-purpose", "sslserver", "-verify_ip", "::1") == "leaf: OK\n"
        assert "unsuitable certificate purpose" in await verify(*arguments, "-purpose", "sslclient")
