"""
Faults on request: each imitates a fault of real devices, over a socket of its own.

``FAULTS`` names them all, those of `firmware_faults` and `mobile_faults` too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from span_events.simulator.cellular.faults import MOBILE_FAULTS
from span_events.simulator.coap import CoapClient
from span_events.simulator.devices import PATH
from span_events.simulator.firmware.faults import FIRMWARE_FAULTS, UPDATE_FAULTS
from span_events.simulator.scene import Fault, Scene
from span_events.simulator.sockets import DeviceSocket
from span_events.wire.coap.blocks import Block, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Type, encode, name_of_code

UNKNOWN_CRITICAL: Final = 65_001
"""An option number for experiments (RFC 7252 §12.2); odd numbers are critical (§5.4.6)."""
BLOCK_EXPONENT: Final = 2
"""Blocks of 64 octets."""
TOO_MANY_OCTETS: Final = 60_000
"""Over any sensible messages.max_payload, and still one datagram."""
FLOOD: Final = 1_000
"""Messages of a flood: twice the default messages.burst."""


async def unknown_address(scene: Scene) -> str:
    """A message from an address that no device has."""
    target = scene.targets.datagrams
    if target is None:
        with CoapClient(scene.stranger, scene.coap, timing=scene.timing) as client:
            return f"CoAP from {scene.stranger}: {_outcome(await client.post(PATH, b'who am I?'))}"
    with DeviceSocket(scene.stranger, target, _ignore) as socket:
        socket.send(b"who am I?")
        return f"UDP datagram from {socket.local[0]}:{socket.local[1]}"


async def malformed(scene: Scene) -> str:
    """A datagram that breaks CoAP: a wrong version, token length 9, a cut option, or text that is not UTF-8."""
    header = encode(CoapMessage(Type.CON, Code.POST, random.randrange(1 << 16)))
    what, datagram = random.choice(
        (
            ("version 3", bytes((0xC0 | header[0] & 0x3F,)) + header[1:]),
            ("token length 9", bytes((header[0] | 9,)) + header[1:] + bytes(9)),
            ("an option of 12 octets that has 3", header + b"\xbcabc"),
            ("a Uri-Path that is not UTF-8", header + b"\xb2\xc3\x28"),
            ("a payload marker without payload", header + b"\xff"),
        )
    )
    with DeviceSocket(scene.device.address, scene.coap, _ignore) as socket:
        socket.send(datagram)
    return f"CoAP with {what}: {datagram.hex()}"


async def unknown_critical_option(scene: Scene) -> str:
    """A request with a critical option that no server knows; the reply is 4.02."""
    with scene.coap_client() as client:
        reply = await client.post(PATH, b"hello", options=[(UNKNOWN_CRITICAL, b"\x01")])
    return f"POST with option {UNKNOWN_CRITICAL}: {_outcome(reply)}"


async def block_missing(scene: Scene) -> str:
    """A block-wise upload that loses its second block; the reply is 4.08."""
    with scene.coap_client() as client:
        size = 16 << BLOCK_EXPONENT
        first = await client.post(PATH, bytes(size), options=[_block1(0)])
        third = await client.post(PATH, bytes(size), options=[_block1(2)])
    return f"block 0: {_outcome(first)}; then block 2: {_outcome(third)}"


async def too_large(scene: Scene) -> str:
    """A message over the size limit; over CoAP the reply is 4.13."""
    if scene.targets.coap is not None:
        with scene.coap_client() as client:
            reply = await client.post(PATH, bytes(TOO_MANY_OCTETS))
        return f"POST of {TOO_MANY_OCTETS} octets: {_outcome(reply)}"
    assert scene.targets.datagrams is not None
    with DeviceSocket(scene.device.address, scene.targets.datagrams, _ignore) as socket:
        socket.send(bytes(TOO_MANY_OCTETS))
    return f"UDP datagram of {TOO_MANY_OCTETS} octets"


async def duplicate(scene: Scene) -> str:
    """The same confirmable message again, as if its acknowledgement had been lost on the way."""
    with scene.coap_client() as client:
        request = client.request(Code.POST, PATH, b"did you get this?")
        first = await client.exchange(request)
        again = await client.exchange(request)
    then = "the same reply" if first is not None and first == again else _outcome(again)
    return f"message id {request.message_id} twice: {_outcome(first)}, then {then}"


async def flood(scene: Scene) -> str:
    """Many more messages at once than a device may send."""
    target = scene.targets.datagrams
    datagrams = [b"flood %d" % number for number in range(FLOOD)]
    if target is None:
        target = scene.coap
        datagrams = [
            encode(CoapMessage(Type.NON, Code.POST, number, options=((Option.URI_PATH, PATH.encode()),), payload=each))
            for number, each in enumerate(datagrams)
        ]
    sent = 0
    with DeviceSocket(scene.device.address, target, _ignore) as socket:
        for number, datagram in enumerate(datagrams):
            sent += socket.send(datagram)
            if number % 64 == 63:
                await asyncio.sleep(0)  # let others run, and a small receive buffer drain
    return f"{sent} messages at once from {scene.device.address}"


async def silent(scene: Scene) -> str:
    """A device that sends nothing any more, as with an empty battery; with --core it attaches once again before."""
    device = scene.device
    device.muted = True
    if scene.core is None:
        return f"{device.address} sends nothing any more"
    await device.switch_off()
    await device.switch_on()
    return f"{device.address} attached, and sends nothing"


FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "unknownAddress": unknown_address,
        "malformed": malformed,
        "unknownCriticalOption": unknown_critical_option,
        "blockMissing": block_missing,
        "tooLarge": too_large,
        "duplicate": duplicate,
        "flood": flood,
        "silent": silent,
        **FIRMWARE_FAULTS,
        **MOBILE_FAULTS,
    }
)
"""Every fault by the name that ``simulate --fault`` takes; where it is a reason or an event, by that."""

NEED_COAP: Final = frozenset(("malformed", "unknownCriticalOption", "blockMissing", "duplicate", *FIRMWARE_FAULTS))
"""Faults that exist in CoAP only."""
NEED_UPDATE: Final = frozenset(UPDATE_FAULTS)
"""Faults in a firmware update, in place of a successful one."""
NEED_CORE: Final = frozenset(MOBILE_FAULTS)
"""Faults that happen at the mobile core."""


def meaning_of(name: str) -> str:
    """Return the sentence that documents a fault."""
    return (FAULTS[name].__doc__ or "").strip()


def _block1(number: int) -> tuple[int, bytes]:
    return Option.BLOCK1, write_block(Block(number, True, BLOCK_EXPONENT))


def _outcome(reply: CoapMessage | None) -> str:
    return "no reply" if reply is None else name_of_code(reply.code)


def _ignore(datagram: bytes) -> None:
    """Take no notice."""
