"""
A device that posts a CoAP message every 10 ms, in a process of its own.

``python device.py HOST PORT SOURCE`` prints a line after the first answer and, once standard input has closed,
a JSON list with the seconds until each answer (null for none, or for an answer other than 2.xx). It imports
the standard library only, so that it takes no time from the server.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Final

_PAUSE: Final = 0.01
"""Seconds between an answer and the next message."""
_PATIENCE: Final = 100.0
"""Seconds until an answer counts as lost."""


def post(device: socket.socket, number: int) -> float | None:
    """Send a message and return the seconds until its answer."""
    message_id = number.to_bytes(2, "big")
    began = time.perf_counter()
    device.send(b"\x40\x02" + message_id + b"\xb1x\xff" + b"bystander")
    try:
        while (answer := device.recv(1024))[2:4] != message_id:
            pass  # the late answer to an earlier message
    except OSError:  # a timeout, or an ICMP error: nothing listens any more
        return None
    return time.perf_counter() - began if answer[1] >> 5 == 2 else None


def main(host: str, port: str, source: str) -> None:
    """Post messages until standard input closes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind((source, 0))
        device.connect((host, int(port)))
        device.settimeout(_PATIENCE)
        post(device, 0)
        sys.stdout.write("posting\n")
        sys.stdout.flush()
        waits: list[float | None] = []
        while not (select.select([sys.stdin], [], [], _PAUSE)[0] and waits):
            waits.append(post(device, (len(waits) + 1) & 0xFFFF))
    sys.stdout.write(json.dumps(waits))


if __name__ == "__main__":
    main(*sys.argv[1:])
