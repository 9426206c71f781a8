"""``cert`` and ``device psk``: their requests, files and output."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from structlog.testing import capture_logs

from span_events.ids import render
from span_events.registry.model import Device
from tests.bench.servers import running
from tests.cli.bench import COLLECTION, DEVICE, Api, problem, run

GATEWAY = "17kl14hm46h4c5"
CERTIFICATES = f"/span/collections/{COLLECTION}/certificates"
PSK = f"/span/collections/{COLLECTION}/devices/{DEVICE}/psk"
WHOSE = ("-c", COLLECTION, "-d", DEVICE)
SERIAL = "1347824629134782462"
EXPIRES = "4102444800000"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


MADE = {
    "certificate": b64("leaf\n"),
    "privateKey": b64("key\n"),
    "chain": b64("intermediate\nroot\n"),
    "certificateSerial": SERIAL,
    "expires": EXPIRES,
}


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_create_writes_the_key_and_the_chain(tmp_path: Path) -> None:
    """Leaf first, root last; the key for its owner alone; standard output has the serial number only."""
    async with Api({f"POST {CERTIFICATES}/create": MADE}) as api:
        result = await api.run("cert", "create", *WHOSE, "--out", str(tmp_path / "a" / "b"))

    folder = tmp_path / "a" / "b"
    assert result.stdout == f"{SERIAL}\n"
    assert f"wrote {folder}/cert.crt and {folder}/key.pem; valid until 2" in result.stderr
    assert (folder / "cert.crt").read_text() == "leaf\nintermediate\nroot\n"
    assert (folder / "key.pem").read_text() == "key\n"
    assert modes(folder)["key.pem"] == 0o600
    assert api.last.body == {"deviceId": DEVICE}


async def test_create_writes_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Api({f"POST {CERTIFICATES}/create": MADE}) as api:
        result = await api.run("cert", "create", *WHOSE, "--json")

    assert sorted(modes(tmp_path)) == ["cert.crt", "key.pem"]
    assert json.loads(result.stdout) == {
        "certificateSerial": SERIAL,
        "expires": EXPIRES,
        "files": ["cert.crt", "key.pem"],
    }


@pytest.mark.parametrize("present", ["cert.crt", "key.pem"])
async def test_nothing_is_overwritten_and_nothing_issued_in_vain(tmp_path: Path, present: str) -> None:
    """Existing files are found before the request."""
    (tmp_path / present).write_text("mine")
    async with Api({f"POST {CERTIFICATES}/create": MADE}) as api:
        result = await api.run("cert", "create", *WHOSE, "--out", str(tmp_path))

    assert result.exit_code == 1
    assert f"{tmp_path / present} is there already, and is not overwritten" in result.stderr
    assert (tmp_path / present).read_text() == "mine"
    assert sorted(modes(tmp_path)) == [present]
    assert api.calls == []


async def test_a_refusal_leaves_no_files(tmp_path: Path) -> None:
    async with Api({f"POST {CERTIFICATES}/create": (429, problem(429, "too many"))}) as api:
        result = await api.run("cert", "create", *WHOSE, "--out", str(tmp_path))

    assert result.exit_code == 1
    assert "too many" in result.stderr
    assert modes(tmp_path) == {}


async def test_an_answer_without_a_key_leaves_no_files(tmp_path: Path) -> None:
    async with Api({f"POST {CERTIFICATES}/create": {"certificate": "AA=="}}) as api:
        result = await api.run("cert", "create", *WHOSE, "--out", str(tmp_path))

    assert "has no privateKey in base64" in result.stderr
    assert modes(tmp_path) == {}


async def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with Api() as api:
        result = await api.run("cert", "create", *WHOSE, "--out", str(tmp_path / "file" / "x"))

    assert "cannot be written: Not a directory" in result.stderr
    assert api.calls == []


async def test_a_gateway_may_be_named_instead_of_a_device(tmp_path: Path) -> None:
    """The option wins over a device of the environment."""
    async with Api({f"POST {CERTIFICATES}/create": MADE}) as api:
        arguments = ("cert", "create", "-c", COLLECTION, "--gateway", GATEWAY, "--out", str(tmp_path))
        result = await api.run(*arguments, "--key-type", "rsa", env={"SPAN_DEVICE_ID": DEVICE})

    assert result.exit_code == 0
    assert api.last.body == {"gatewayId": GATEWAY, "keyType": "rsa"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "Missing option '-d' / '--device', or '--gateway'"),
        (("-d", DEVICE, "--gateway", GATEWAY), "give --device or"),
    ],
)
async def test_one_owner_is_wanted(arguments: tuple[str, ...], error: str) -> None:
    async with Api() as api:
        result = await api.run("cert", "list", "-c", COLLECTION, *arguments)

    assert result.exit_code == 2
    assert error in result.stderr
    assert api.calls == []


async def test_sign_sends_the_request_and_writes_the_chain(tmp_path: Path) -> None:
    """From a file or from standard input."""
    (tmp_path / "csr").write_bytes(b"request")
    reply = {name: value for name, value in MADE.items() if name != "privateKey"}
    async with Api({f"POST {CERTIFICATES}/sign": reply}) as api:
        for number, source in enumerate((str(tmp_path / "csr"), "-")):
            out = tmp_path / str(number)
            result = await api.run("cert", "sign", *WHOSE, "--csr", source, "--out", str(out), stdin="request")

            assert result.stdout == f"{SERIAL}\n"
            assert (out / "cert.crt").read_text() == "leaf\nintermediate\nroot\n"
            assert api.last.body == {"deviceId": DEVICE, "csr": b64("request")}


@pytest.mark.parametrize(
    ("reply", "shown", "status"),
    [
        ({"valid": True, "errors": []}, "valid\n", 0),
        ({"valid": False, "errors": ["expired", "was revoked"]}, "{0}: expired\n{0}: was revoked\n", 1),
    ],
)
async def test_verify_shows_every_reason(tmp_path: Path, reply: dict[str, Any], shown: str, status: int) -> None:
    path = tmp_path / "cert.crt"
    path.write_text("leaf")
    async with Api({f"POST {CERTIFICATES}/verify": reply}) as api:
        result = await api.run("cert", "verify", *WHOSE, str(path))
        as_json = await api.run("cert", "verify", *WHOSE, str(path), "--json")

    assert result.stdout == shown.format(path)
    assert json.loads(as_json.stdout) == reply
    assert result.exit_code == as_json.exit_code == status
    assert api.last.body == {"deviceId": DEVICE, "certificate": b64("leaf")}


async def test_list_shows_the_validity_of_certificates() -> None:
    certificates = [
        {"certificateSerial": SERIAL, "expires": EXPIRES},
        {"certificateSerial": "5", "expires": EXPIRES, "revoked": "1714076616000"},
        {"certificateSerial": "6", "expires": "1714076616000"},
    ]
    path = f"GET /span/collections/{COLLECTION}/devices/{DEVICE}/certs"
    async with Api({path: {"certificates": certificates}}) as api:
        result = await api.run("cert", "list", *WHOSE)

    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        ["SERIAL", "STATE"],
        [SERIAL, "valid"],
        ["5", "revoked"],
        ["6", "expired"],
    ]


@pytest.mark.parametrize(("arguments", "stdin", "revoked"), [(["--yes"], None, True), ([], "n\n", False)])
async def test_revoking_asks_first(arguments: list[str], stdin: str | None, revoked: bool) -> None:
    async with Api({f"DELETE {CERTIFICATES}/{SERIAL}": {"certificateSerial": SERIAL}}) as api:
        result = await api.run("cert", "revoke", "-c", COLLECTION, SERIAL, *arguments, stdin=stdin)

    assert [call.method for call in api.calls] == ["DELETE"] * revoked
    assert result.stdout == (f"{SERIAL}\n" if revoked else "")


# ---- device psk ------------------------------------------------------------------------------


async def psk(*arguments: str) -> tuple[Result, Api]:
    async with Api({f"PUT {PSK}": {"deviceId": DEVICE}, f"DELETE {PSK}": {"deviceId": DEVICE}}) as api:
        return await api.run("device", "psk", *WHOSE, *arguments), api


@pytest.mark.parametrize("option", [["--key", "00ff" * 8], ["--key-base64", base64.b64encode(b"\0\xff" * 8).decode()]])
async def test_a_key_is_set_and_not_shown(option: list[str]) -> None:
    result, api = await psk("--identity", "pumpe-æ", *option)

    assert result.output == f"{DEVICE}\n"
    assert (api.last.method, api.last.body) == ("PUT", {"identity": b64("pumpe-æ"), "key": "AP8A/wD/AP8A/wD/AP8A/w=="})


async def test_a_generated_key_is_shown_once() -> None:
    """In hexadecimal, alone; another one each time."""
    shown = []
    for _ in range(2):
        result, api = await psk("--identity", "pump", "--generate")
        shown.append(result.stdout)

        assert bytes.fromhex(result.stdout) == base64.b64decode(api.last.body["key"])
        assert "not shown again" in result.stderr
    as_json, api = await psk("--identity", "pump", "--generate", "--json")

    assert len(bytes.fromhex(shown[0])) == 16
    assert shown[0] != shown[1]
    assert json.loads(as_json.stdout)["key"] == api.last.body["key"]


async def test_a_key_is_taken_away() -> None:
    result, api = await psk("--remove")

    assert (result.stdout, api.last.method) == (f"{DEVICE}\n", "DELETE")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--identity", "x"], "No key: give exactly one of --key, --key-base64, --generate and --remove"),
        (["--identity", "x", "--generate", "--key", "00"], "--key and --generate: give exactly one"),
        (["--generate"], "Missing option '--identity'"),
        (["--identity", "x", "--key", "secret"], "Invalid value for --key: is not hexadecimal"),
        (["--identity", "x", "--key-base64", "secret!"], "Invalid value for --key-base64: is not base64"),
    ],
)
async def test_a_wrong_key_is_refused_without_showing_it(arguments: list[str], error: str) -> None:
    result, api = await psk(*arguments)

    assert result.exit_code == 2
    assert error in result.stderr
    assert "secret" not in result.output
    assert api.calls == []


# ---- with a real server ----------------------------------------------------------------------


async def test_openssl_accepts_the_written_files(tmp_path: Path) -> None:
    """The file alone is enough: it has leaf, intermediate and root."""
    # Captured, or the server's lines would come between what the commands print.
    with capture_logs() as lines:
        async with running(tmp_path / "data") as server:
            collection = await server.collection()
            device = await server.device(collection)
            env = {"SPAN_API_ENDPOINT": f"http://{server.http}", "SPAN_API_TOKEN": server.token} | ids_of(device)
            folder = str(tmp_path / "files")
            created = await run("cert", "create", "--out", folder, env=env)
            valid = await run("cert", "verify", f"{folder}/cert.crt", env=env)
            listed = await run("cert", "list", env=env)
            await run("cert", "revoke", created.stdout.strip(), "--yes", env=env)
            revoked = await run("cert", "verify", f"{folder}/cert.crt", env=env)
            at = str(server.clock.time_ns() // 1_000_000_000)

    verified = await shell(f"openssl verify -attime {at} -CAfile cert.crt -untrusted cert.crt cert.crt", folder)
    ours = await shell("openssl pkey -in key.pem -pubout", folder)
    certified = await shell("openssl x509 -in cert.crt -noout -pubkey", folder)

    assert created.exit_code == 0, created.output
    assert verified == "cert.crt: OK\n"
    assert ours == certified
    assert "PUBLIC KEY" in ours
    assert valid.stdout == "valid\n"
    assert listed.stdout.splitlines()[1].startswith(created.stdout.strip())
    assert "was revoked at 2024-04-25 20:23:36 UTC" in revoked.stdout
    assert [each["event"] for each in lines if each["part"] == "certificates"] == [
        "certificate_issued",
        "certificate_revoked",
    ]


async def shell(command: str, folder: str) -> str:
    """Run a command in a folder and return its output."""
    process = await asyncio.create_subprocess_exec(
        *command.split(), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    return (await process.communicate())[0].decode()


def ids_of(device: Device) -> dict[str, str]:
    return {"SPAN_COLLECTION_ID": render(device.collection.id), "SPAN_DEVICE_ID": render(device.id)}
