"""``simulate`` against an API that records, and a real UDP socket."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from span_events.cli.simulate.targets import RadiusPorts
from span_events.simulator.cellular.modems import modem_at
from span_events.wire.coap.messages import decode
from tests.bench.ports import free_port
from tests.bench.programs import PROGRAM, Program
from tests.bench.waiting import PATIENCE
from tests.cli.bench import COLLECTION, DEVICE, TOKEN, Api, problem
from tests.cli.simulate.ending import BRIEF, ended_when
from tests.simulator.cellular.radius_server import SECRET, RadiusServer
from tests.simulator.responder import Responder, piggybacked

COLLECTIONS = "/span/collections"
DEVICES = f"{COLLECTIONS}/{COLLECTION}/devices"
OURS = {"tags": {"name": "simulator", "simulated": "true"}}
QUICK = ("--rate", "1000")


def known(address: str, *, ours: bool = True) -> dict[str, Any]:
    """Make a device as the API lists it."""
    return {
        "deviceId": DEVICE,
        "tags": {"simulated": "true"} if ours else {},
        "metadata": {"ciot": {"allocatedIp": address}},
    }


def api(devices: list[dict[str, Any]] | None = None, collections: list[dict[str, Any]] | None = None) -> Api:
    """Make an API that knows some devices and lets more be made."""
    return Api(
        {
            f"GET {COLLECTIONS}": {"collections": collections or []},
            f"POST {COLLECTIONS}": {"collectionId": COLLECTION},
            f"DELETE {COLLECTIONS}/{COLLECTION}": {"collectionId": COLLECTION},
            f"GET {DEVICES}": {"devices": devices or []},
            f"POST {DEVICES}": known("127.78.0.1"),
            f"DELETE {DEVICES}/{DEVICE}": known("127.78.0.1"),
        }
    )


async def simulate(api: Api, server: Responder, *arguments: str) -> Result:
    """Run the command with both of its targets at one responder."""
    target = f"127.0.0.1:{server.address[1]}"
    return await api.run("simulate", "--datagrams", target, "--coap", target, *arguments)


async def test_devices_are_made_where_they_are_missing_and_send_from_their_addresses() -> None:
    with Responder() as server:
        async with api([known("127.78.0.1")]) as there:
            with ended_when(lambda _: len({remote for _, remote in server.received}) == 2):
                result = await simulate(there, server, "--devices", "2", "--transport", "udp", *QUICK)

    assert result.exit_code == 0
    assert [call.body for call in there.calls if call.method == "POST"] == [
        {"tags": {"name": "simulator", "simulated": "true"}},
        {"tags": {"name": "simulated-0.2", "simulated": "true"}, "metadata": {"ciot": {"allocatedIp": "127.78.0.2"}}},
    ]
    assert {remote[0] for _, remote in server.received} == {"127.78.0.1", "127.78.0.2"}
    assert f"-- 2 devices in collection {COLLECTION}" in result.stderr


async def test_the_collection_of_an_earlier_run_is_used_again() -> None:
    earlier = [{"collectionId": "123", "tags": {}}, {"collectionId": COLLECTION, **OURS}]
    with Responder() as server:
        async with api([known("127.78.0.1")], earlier) as there:
            await simulate(there, server, "--devices", "1", "--transport", "udp", *BRIEF)

    assert [call.method for call in there.calls] == ["GET", "GET"]


async def test_both_transports_take_turns_and_the_summary_counts() -> None:
    def answer(datagram: bytes) -> Any:
        return () if datagram.startswith(b"{") else piggybacked(payload=b"down")(datagram)

    with Responder(answer) as server:
        async with api() as there:
            with ended_when(lambda statistics: statistics.over_udp and statistics.answered):
                result = await simulate(there, server, "-c", COLLECTION, "--devices", "2", "--json", *QUICK)

    summary = json.loads(result.stdout)
    udp = [remote[0] for datagram, remote in server.received if datagram.startswith(b"{")]
    coap = {datagram: remote[0] for datagram, remote in server.received if not datagram.startswith(b"{")}
    assert set(udp) == {"127.78.0.1"}
    assert set(coap.values()) == {"127.78.0.2"}
    assert summary["sent"] == len(udp) + len(coap)
    assert summary["downstream"] == summary["answered"] > 0


async def test_faults_are_provoked_and_reported() -> None:
    with Responder(lambda datagram: () if datagram.startswith(b"{") else piggybacked()(datagram)) as server:
        async with api() as there:
            with ended_when(lambda statistics: statistics.faults["duplicate"]):
                result = await simulate(
                    *(there, server, "-c", COLLECTION, "--devices", "1", "--transport", "udp"),
                    *("--fault", "duplicate", "--fault-pause", "0.01", *QUICK),
                )

    coap = [decode(datagram).payload for datagram, _ in server.received if not datagram.startswith(b"{")]
    assert set(coap) == {b"did you get this?"}
    assert "-- duplicate: message id " in result.stderr
    assert "duplicate " in result.stdout


async def test_faults_are_counted_in_the_summary_for_scripts() -> None:
    """By name."""
    with Responder() as server:
        async with api() as there:
            with ended_when(lambda statistics: statistics.faults["malformed"]):
                result = await simulate(
                    *(there, server, "-c", COLLECTION, "--devices", "1", "--transport", "udp", "--json"),
                    *("--fault", "malformed", "--fault-pause", "0.01", *QUICK),
                )

    assert json.loads(result.stdout)["faults"]["malformed"] > 0


async def test_cleanup_deletes_only_created_resources() -> None:
    """A device that a person made with such an address is used, and stays."""
    with Responder() as server:
        async with api([known("127.78.0.1", ours=False)]) as there:
            await simulate(there, server, "--devices", "1", "--transport", "udp", "--cleanup", *BRIEF)
            own = len(there.calls)
            await simulate(there, server, "--devices", "2", "--transport", "udp", "--cleanup", *BRIEF)

    assert [call.path for call in there.calls[:own] if call.method == "DELETE"] == [f"{COLLECTIONS}/{COLLECTION}"]
    assert [call.path for call in there.calls[own:] if call.method == "DELETE"] == [
        f"{DEVICES}/{DEVICE}",
        f"{COLLECTIONS}/{COLLECTION}",
    ]


async def test_an_address_of_another_collection_is_refused_with_a_hint() -> None:
    with Responder() as server:
        async with api() as there:
            there.replies[f"POST {DEVICES}"] = (409, problem(409, "127.78.0.1 belongs to another device"))
            result = await simulate(there, server, "-c", COLLECTION, *BRIEF)

    assert result.exit_code == 1
    assert "error: 127.78.0.1 belongs to another device" in result.stderr
    assert "--base-address" in result.stderr
    assert server.received == []


async def test_a_run_without_a_reachable_server_fails() -> None:
    target = f"127.0.0.1:{free_port()}"
    async with api() as there:
        with ended_when(lambda statistics: statistics.unreachable):
            result = await there.run(
                *("simulate", "-c", COLLECTION, "--transport", "udp", "--datagrams", target, "--devices", "1", *QUICK)
            )

    assert result.exit_code == 5
    assert f"error: Nothing listens at {target}/udp" in result.stderr


async def test_addresses_that_do_not_fit_are_refused_before_any_request() -> None:
    async with api() as there:
        beyond = await there.run("simulate", "--base-address", "127.255.255.250", "--devices", "10")
        nonsense = await there.run("simulate", "--base-address", "nonsense")
        target = await there.run("simulate", "--coap", "localhost:5683")

    assert "go beyond 127.0.0.0/8" in beyond.stderr
    assert "'nonsense' is not an IPv4 address" in nonsense.stderr
    assert "is not an IP address and a port" in target.stderr
    assert {beyond.exit_code, nonsense.exit_code, target.exit_code} == {2}
    assert there.calls == []


async def test_a_run_that_ends_before_the_first_message_has_a_summary() -> None:
    """A script that reads --json finds its object however short the run was."""
    with Responder() as server:
        async with api() as there:
            result = await simulate(there, server, "-c", COLLECTION, "--rate", "1e-9", "--json", *BRIEF)

    assert result.exit_code == 0
    assert json.loads(result.stdout)["sent"] == 0


async def test_without_cleanup_the_summary_lists_the_remaining_resources() -> None:
    with Responder() as server:
        async with api() as there:
            result = await simulate(there, server, "-c", COLLECTION, "--devices", "3", "--transport", "udp", *BRIEF)

    assert result.exit_code == 0
    assert f"-- left 3 simulated devices in {COLLECTION} (--cleanup deletes them)\n" in result.stderr


async def test_messages_without_replies_do_not_count_as_loss() -> None:
    """Plain UDP has no replies, so only CoAP is compared with its answers."""

    def answer(datagram: bytes) -> Any:
        return () if datagram.startswith(b"{") else piggybacked()(datagram)

    with Responder(answer) as server:
        async with api() as there:
            with ended_when(lambda statistics: statistics.over_udp and statistics.answered):
                both = await simulate(there, server, "-c", COLLECTION, "--devices", "2", *QUICK)
            with ended_when(lambda statistics: statistics.sent):
                udp = await simulate(there, server, "-c", COLLECTION, "--devices", "2", "--transport", "udp", *QUICK)

    counted = re.search(
        r"  sent (\d+) \((\d+) over UDP, which has no answers; (\d+) over CoAP, (\d+) answered\)", both.stdout
    )
    assert counted
    sent, over_udp, over_coap, answered = map(int, counted.groups())
    assert sent == over_udp + over_coap
    assert over_coap - 1 <= answered <= over_coap
    assert re.search(r"  sent (\d+) \(\1 over UDP, which has no answers\)\n", udp.stdout)


async def test_addresses_of_another_machine_are_refused_before_any_request() -> None:
    async with api() as there:
        result = await there.run("simulate", "--base-address", "192.0.2.1", "--cleanup")

    assert result.exit_code == 3
    assert "error: 192.0.2.1: cannot send from this address" in result.stderr
    assert there.calls == []


def core_options(radius: RadiusServer, folder: Path, *, secret: bytes = SECRET) -> tuple[str, ...]:
    """Return the options for a RADIUS server, with the secret in a file that ends in a newline."""
    path = folder / "nas.secret"
    path.write_bytes(secret + b"\n")
    ports = ",".join(f"127.0.0.1:{each.address[1]}" for each in (radius.authentication, radius.accounting))
    return "--core", ports, "--core-secret-file", str(path)


async def test_devices_of_a_mobile_core_have_sims_and_send_from_their_leased_addresses(
    tmp_path: Path,
) -> None:
    """At the end the core sends Accounting-Off, so the server ends all attachments."""
    addresses = ["127.77.5.1", "127.77.5.2"]
    with Responder() as server, RadiusServer(addresses=addresses) as radius:
        async with api() as there:
            with ended_when(lambda _: len({remote for _, remote in server.received}) == 2):
                result = await simulate(
                    *(there, server, "-c", COLLECTION, "--devices", "2", "--transport", "udp"),
                    *(*core_options(radius, tmp_path), "--json", *QUICK),
                )

    modems = [modem_at(f"127.78.0.{number}") for number in (1, 2)]
    assert result.exit_code == 0
    assert [call.body["config"] for call in there.calls if call.method == "POST"] == [
        {"ciot": {"imsi": each.imsi, "imei": each.imei}} for each in modems
    ]
    assert {remote[0] for _, remote in server.received} == set(addresses)
    assert {imsi for what, imsi, _ in radius.reported if what == "start"} == {each.imsi for each in modems}
    assert (radius.reported[0][0], radius.reported[-1][0]) == ("accounting-on", "accounting-off")
    assert json.loads(result.stdout)["attached"] == 2


async def test_devices_of_a_mobile_core_are_found_again_by_their_sims(tmp_path: Path) -> None:
    modem = modem_at("127.78.0.1")
    there_already = {"deviceId": DEVICE, "tags": {}, "config": {"ciot": {"imsi": modem.imsi, "imei": modem.imei}}}
    with Responder() as server, RadiusServer() as radius:
        async with api([there_already]) as there:
            result = await simulate(
                *(there, server, "-c", COLLECTION, "--devices", "1", "--transport", "udp"),
                *(*core_options(radius, tmp_path), *BRIEF),
            )

    assert result.exit_code == 0
    assert [call.method for call in there.calls] == ["GET"]


async def test_faults_at_the_mobile_core_are_provoked_and_reported(tmp_path: Path) -> None:
    with Responder() as server, RadiusServer(addresses=["127.77.5.1", "127.77.5.2", "127.77.5.3"]) as radius:
        async with api() as there:
            with ended_when(lambda statistics: statistics.faults["detach"]):
                result = await simulate(
                    *(there, server, "-c", COLLECTION, "--devices", "1", "--transport", "udp"),
                    *(*core_options(radius, tmp_path), "--fault", "detach", "--fault-pause", "0.1", *QUICK),
                )

    assert "-- detach: 127.77.5.1 was switched off and on, and has 127.77.5.2" in result.stderr
    assert "attached " in result.stdout


async def test_a_mobile_core_without_answers_ends_the_run_before_any_request(tmp_path: Path) -> None:
    with Responder() as server, RadiusServer() as radius:
        async with api() as there:
            options = core_options(radius, tmp_path, secret=b"another secret")
            result = await simulate(there, server, "-c", COLLECTION, *options, *BRIEF)

    port = radius.accounting.address[1]
    assert result.exit_code == 5
    assert f"error: 127.0.0.1:{port}/udp gives no RADIUS answer" in result.stderr
    assert "[[radius.nas]]" in result.stderr
    assert there.calls == []


async def test_a_run_in_which_no_device_was_let_in_is_no_success(tmp_path: Path) -> None:
    with Responder() as server, RadiusServer() as radius:
        radius.refused.add(modem_at("127.78.0.1").imsi)
        async with api() as there:
            with ended_when(lambda statistics: statistics.not_attached):
                result = await simulate(
                    *(there, server, "-c", COLLECTION, "--devices", "1", "--transport", "udp"),
                    *(*core_options(radius, tmp_path), *QUICK),
                )

    assert result.exit_code == 1
    assert "-- attach: 001010078000001 is not let in: Not admitted." in result.stderr
    assert "error: No device was let in, after 1 try" in result.stderr


async def test_options_of_the_mobile_core_are_checked(tmp_path: Path) -> None:
    empty, file = tmp_path / "empty", tmp_path / "secret"
    empty.touch()
    file.write_text("a secret")
    async with api() as there:
        alone = await there.run("simulate", "--core", "127.0.0.1:1812")
        nowhere = await there.run("simulate", "--core", "localhost:1812")
        last = await there.run("simulate", "--core", "127.0.0.1:65535")
        missing = await there.run("simulate", "--core-secret-file", str(tmp_path / "missing"))
        nothing = await there.run("simulate", "--core-secret-file", str(empty))
        core = await there.run("simulate", "--fault", "nasReboot")

    assert "--core and --core-secret-file belong together" in alone.stderr
    assert "is not an IP address and a port" in nowhere.stderr
    assert "there is no port after 65535" in last.stderr
    assert f"{tmp_path / 'missing'} cannot be read: No such file or directory" in missing.stderr
    assert f"{empty} is empty" in nothing.stderr
    assert "nasReboot happens at the mobile core" in core.stderr
    assert "--core" in core.stderr
    assert {each.exit_code for each in (alone, nowhere, last, missing, nothing, core)} == {2}
    assert there.calls == []


def test_accounting_is_at_the_next_port_by_default() -> None:
    """1812 and 1813 are the ports of RADIUS (RFC 2865 §3, 2866 §3)."""
    assert RadiusPorts().convert("127.0.0.1:1812", None, None) == (("127.0.0.1", 1812), ("127.0.0.1", 1813))
    assert RadiusPorts().convert("[::1]:1,127.0.0.1:2", None, None) == (("::1", 1), ("127.0.0.1", 2))


def simulating(api: Api, *arguments: str) -> Program:
    """Make a process of the command."""
    return Program(PROGRAM, "--endpoint", api.url, "--token", TOKEN, "simulate", *arguments)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_cleans_up_and_shows_the_summary(number: signal.Signals, status: int) -> None:
    with Responder() as server:
        target = f"127.0.0.1:{server.address[1]}"
        arguments = ("--devices", "1", "--rate", "100", "--transport", "udp", "--datagrams", target, "--cleanup")
        async with api() as there, simulating(there, *arguments) as process:
            await server.next()
            process.send_signal(number)
            ended = await process.finish()

    assert ended.status == status
    assert "  sent " in ended.output
    assert "-- deleted 1 device and the collection" in ended.complaints
    assert "Traceback" not in ended.complaints
    assert there.last.method == "DELETE"


async def test_ctrl_c_while_devices_are_made_leaves_none() -> None:
    """Creations under way are awaited: only the reply holds the id to delete."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await go.wait()

    async with api() as there:
        there.hooks[f"POST {DEVICES}"] = hold
        async with simulating(there, "--devices", "200", "--transport", "udp", "--cleanup") as process:
            async with asyncio.timeout(PATIENCE):
                await asked.wait()
            process.send_signal(signal.SIGINT)
            go.set()
            ended = await process.finish()

    made = [call.path for call in there.calls if call.method == "POST"].count(DEVICES)
    deleted = [call.path for call in there.calls if call.method == "DELETE"].count(f"{DEVICES}/{DEVICE}")
    assert ended.status == 130
    assert deleted == made > 0
    assert f"-- deleted {made} device" in ended.complaints
    assert "Traceback" not in ended.complaints


async def test_a_creation_that_is_refused_leaves_no_devices_of_the_others() -> None:
    """The first refusal ends the run; devices created meanwhile are deleted, too."""
    refused = asyncio.Event()
    made = 0

    async def refuse_one() -> Any:
        nonlocal made
        if not refused.is_set():
            refused.set()
            return 409, problem(409, "127.78.0.1 belongs to another device")
        made += 1
        return None

    with Responder() as server:
        async with api() as there:
            there.hooks[f"POST {DEVICES}"] = refuse_one
            result = await simulate(there, server, "-c", COLLECTION, "--devices", "50", "--cleanup", *BRIEF)

    assert result.exit_code == 1
    assert "error: 127.78.0.1 belongs to another device" in result.stderr
    assert [call.method for call in there.calls].count("DELETE") == made > 0
    assert server.received == []


async def test_an_interrupted_cleanup_lists_the_remaining_resources() -> None:
    """The message names each kind, and the commands that list them."""
    asked, go = asyncio.Event(), asyncio.Event()
    devices = [known(f"127.78.0.{number}") for number in range(1, 201)]

    async def hold() -> None:
        asked.set()
        await go.wait()

    with Responder() as server:
        target = f"127.0.0.1:{server.address[1]}"
        arguments = ("--devices", "200", "--transport", "udp", "--datagrams", target, "--cleanup", *BRIEF)
        async with api(devices) as there:
            there.hooks[f"DELETE {DEVICES}/{DEVICE}"] = hold
            async with simulating(there, "-c", COLLECTION, *arguments) as process:
                async with asyncio.timeout(PATIENCE):
                    await asked.wait()
                process.send_signal(signal.SIGINT)
                go.set()
                ended = await process.finish()

    left = 200 - [call.method for call in there.calls].count("DELETE")
    assert ended.status == 130
    assert left > 0
    assert f"-- {left} devices remain: span-events device list -c {COLLECTION}\n" in ended.complaints
    assert "Traceback" not in ended.complaints


async def test_devices_that_a_lost_server_keeps_are_reported() -> None:
    with Responder() as server:
        async with api([known("127.78.0.1")]) as there:
            there.replies[f"DELETE {DEVICES}/{DEVICE}"] = (503, problem(503, "The registry cannot be written"))
            result = await simulate(there, server, "-c", COLLECTION, "--devices", "1", "--cleanup", *BRIEF)

    assert result.exit_code == 1
    assert "error: The registry cannot be written" in result.stderr
    assert f"-- 1 device remains: span-events device list -c {COLLECTION}\n" in result.stderr
