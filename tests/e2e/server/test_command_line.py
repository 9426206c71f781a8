"""Our own command line, each command in a process of its own, against the server that runs."""

from __future__ import annotations

import json
import signal
import sys
from base64 import b64encode
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import PROGRAM, Finished, Program, run

Command = Callable[..., Coroutine[Any, Any, Finished]]


@pytest.fixture
def command(server: LiveServer) -> Command:
    """Run a command against the server, which the environment names."""
    environment = {"SPAN_API_ENDPOINT": f"http://{server.addresses['http']}", "SPAN_API_TOKEN": server.token}

    async def run_command(*arguments: str, typed: str | None = None, **variables: str) -> Finished:
        return await run(PROGRAM, *arguments, environment=environment | variables, typed=typed)

    return run_command


async def made(running: Coroutine[Any, Any, Finished]) -> str:
    """Return the id that a command prints alone, so that a script can take it."""
    ended = await running
    assert (ended.status, ended.complaints) == (0, "")
    identifier = ended.output.removesuffix("\n")
    assert len(identifier) == 14
    return identifier


async def test_a_device_is_created_found_and_deleted(server: LiveServer, command: Command) -> None:
    """From nothing to a device that sends, with ids handed on as a script does."""
    address = server.free_address()
    collection = await made(command("collection", "create", "--tag", "name=lab"))
    device = await made(command("device", "create", "-c", collection, "--ip", address, "--tag", "name=pump"))
    await server.coap_client(address, "-m", "post", "-e", "hello")
    listed = await command("device", "list", SPAN_COLLECTION_ID=collection)
    shown = await command("device", "get", "-c", collection, device)
    collections = json.loads((await command("collection", "list", "--json")).output)
    gone = [
        await made(command("device", "delete", "-c", collection, device, "--yes")),
        await made(command("collection", "delete", collection, "--yes")),
    ]

    row = next(line for line in listed.output.splitlines() if line.startswith(device)).split()
    assert (row[1], row[-2], row[-1]) == (address, "coap", "name=pump")
    assert "hello" in shown.output
    assert "\x1b" not in listed.output + shown.output
    assert {"name": "lab"} in [each["tags"] for each in collections["collections"]]
    assert gone == [device, collection]


async def test_a_queued_message_is_withdrawn(device: LiveDevice, command: Command) -> None:
    """From an argument, or from standard input octet by octet."""
    where = ("-c", device.collection, "-d", device.id)
    kept = await made(command("outbox", "add", *where, "--file", "-", typed="on\n5"))
    cancelled = await made(command("outbox", "add", *where, "reboot"))
    await made(command("outbox", "delete", *where, cancelled))
    listed = await command("outbox", "list", *where)
    document = json.loads((await command("outbox", "list", *where, "--json")).output)

    assert listed.output.splitlines()[0].split()[:2] == ["MESSAGE", "STATE"]
    assert {(each["messageId"], each["payload"]) for each in document["messages"]} >= {
        (kept, b64encode(b"on\n5").decode())
    }
    assert "pending" in next(line for line in listed.output.splitlines() if line.startswith(kept))
    assert "pending" not in "".join(line for line in listed.output.splitlines() if line.startswith(cancelled))


async def test_the_catalogue_is_explained_without_a_server() -> None:
    """Each reason of an event comes with what to try."""
    ended = await run(PROGRAM, "events", "messageRejected", environment={"SPAN_API_ENDPOINT": "http://127.0.0.1:1"})

    assert (ended.status, ended.complaints) == (0, "")
    assert "unknownAddress" in ended.output


def simulate(server: LiveServer, *arguments: str) -> Program:
    """Make a process that simulates devices until Ctrl-C, and deletes them."""
    environment = {"SPAN_API_ENDPOINT": f"http://{server.addresses['http']}", "SPAN_API_TOKEN": server.token}
    targets = ("--datagrams", server.addresses["datagrams"], "--coap", server.addresses["coap"])
    return Program(PROGRAM, "simulate", *arguments, *targets, "--cleanup", environment=environment)


async def test_simulated_devices_send_and_are_removed(server: LiveServer) -> None:
    """Over both transports, with a fault; --cleanup deletes what was made."""
    collection = await server.add_collection()
    arguments = ("--devices", "4", "--rate", "50", "--fault", "malformed", "--fault-pause", "0.1")
    enough = {"messageRejected": 4, "clientConnected": 4, "upstreamMessage": 10}
    async with (
        server.tail(f"/span/collections/{collection}/activity") as tail,
        simulate(server, "-c", collection, *arguments, "--base-address", "127.79.0.1") as program,
    ):
        while any(tail.names.count(name) < count for name, count in enough.items()):
            await tail.next()
        program.send_signal(signal.SIGINT)
        ended = await program.finish()
        while tail.names.count("deviceRemoved") < 4:
            await tail.next()
    left = await server.call("GET", f"/span/collections/{collection}/devices")

    assert ended.status == 130, ended.complaints
    assert left["devices"] == []
    assert tail.names.count("deviceCreated") == tail.names.count("clientConnected") == 4
    sent = [event["data"]["transport"] for event in tail.seen if event["event"] == "upstreamMessage"]
    assert {"udp", "coap"} <= set(sent)
    assert "malformed" in {event["data"].get("reason") for event in tail.seen if event["event"] == "messageRejected"}


async def test_simulated_devices_update_themselves_and_are_removed(server: LiveServer) -> None:
    """
    In a collection of their own, which goes with its image; one stops on its way, and goes on.

    The summary tells so also where no message was due yet.
    """
    update = ("--firmware", "--devices", "2", "--fault", "stalledDownload", "--base-address", "127.79.1.1")
    arguments = (*update, "--rate", "0.0001")
    shown: list[str] = []
    async with (
        server.tail("/span/activity") as tail,
        simulate(server, *arguments, "--json") as program,
    ):
        while sum("reported 1.1.0" in line for line in shown) < 2:
            shown.append(await program.complaint())
        program.send_signal(signal.SIGINT)
        ended = await program.finish()
        while tail.names.count("deviceRemoved") < 2:
            await tail.next()
    left = await server.call("GET", "/span/collections")

    assert ended.status == 130, ended.complaints
    assert json.loads(ended.output)["updated"] == 2
    assert any("-- stalledDownload: 127.79.1." in line for line in shown)
    assert tail.names.count("firmwareCurrent") == 2
    assert not [each for each in left["collections"] if each["tags"].get("simulated")]


async def test_errors_have_a_hint_and_an_exit_status(device: LiveDevice, command: Command) -> None:
    """On standard error, and never as a traceback."""
    refused = await command("collection", "list", SPAN_API_TOKEN="0123456789abcdef")
    missing = await command("device", "get", "-c", device.collection, "17kl14hm46h4c2")
    wrong = await command("device", "get", "-c", "zzz", device.id)
    alone = await command("collection", "list", SPAN_API_ENDPOINT="http://127.0.0.1:1")

    assert [each.status for each in (refused, missing, wrong, alone)] == [1, 1, 1, 5]
    for each in (refused, missing, wrong, alone):
        assert each.output == ""
        assert each.complaints.startswith("error: ")
        assert "\nhint: " in each.complaints
        assert "Traceback" not in each.complaints


async def test_the_package_runs_as_a_module(server: LiveServer) -> None:
    ended = await run(sys.executable, "-m", "span_events", "--version")

    assert ended.output.startswith("span-events ")
