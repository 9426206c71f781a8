"""An independent mobile core: FreeRADIUS's radclient, with its own 3GPP dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from tests.bench.programs import run
from tests.bench.waiting import PATIENCE

SECRET: Final = "a secret of the tests"
"""Shared secret of server and test NAS; long enough to cause no warning."""

Fields = dict[str, str | None]
"""Attributes in radclient's input format; None omits a usual one."""

DEVICE: Final = {
    "User-Name": '"4790000001"',
    "NAS-IP-Address": "192.0.2.10",
    "NAS-Identifier": '"pgw1"',
    "NAS-Port-Type": "Wireless-Other",
    "Service-Type": "Framed-User",
    "Framed-Protocol": "GPRS-PDP-Context",
    "Called-Station-Id": '"mda.test"',
    "Calling-Station-Id": '"4790000001"',
    "3GPP-IMSI": '"242016000000001"',
    "3GPP-IMEISV": '"3569380356438001"',
    "3GPP-RAT-Type": "EUTRAN",
    "3GPP-User-Location-Info": "0x8242f210123442f21000a1b2c3",
    "3GPP-MS-Time-Zone": "0x4001",
    "3GPP-SGSN-MCC-MNC": '"24201"',
    "3GPP-Charging-ID": "305419896",
    "3GPP-NSAPI": '"5"',
}
ATTACH: Final = DEVICE | {
    "User-Password": '"a password of the tests"',
    "3GPP-IMSI-MCC-MNC": '"24201"',
    "3GPP-Selection-Mode": '"0"',
    "3GPP-PDP-Type": "0",
    "3GPP-GGSN-Address": "192.0.2.10",
    "3GPP-SGSN-Address": "192.0.2.20",
    "Message-Authenticator": "0x00",
}
"""An Access-Request; radclient computes the Message-Authenticator itself."""
START: Final = DEVICE | {
    "Acct-Status-Type": "Start",
    "Acct-Session-Id": '"C0000201A0000001"',
    "Framed-IP-Address": "10.64.0.11",
    "Event-Timestamp": '"Nov 20 2026 10:00:00 UTC"',
    "Acct-Delay-Time": "0",
}
INTERIM: Final = START | {"Acct-Status-Type": "Interim-Update"}
"""An Interim-Update."""
STOP: Final = START | {
    "Acct-Status-Type": "Stop",
    "Acct-Terminate-Cause": "User-Request",
    "Acct-Session-Time": "120",
    "3GPP-Session-Stop-Indicator": "255",
}
ACCOUNTING_ON: Final = {
    "Acct-Status-Type": "Accounting-On",
    "Acct-Session-Id": '"00000000"',
    "NAS-IP-Address": "192.0.2.10",
    "NAS-Identifier": '"pgw1"',
}


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one request of radclient."""

    kind: str
    """``Access-Accept``, ``Access-Reject`` or ``Accounting-Response``; empty without an accepted answer."""
    output: str

    def value(self, name: str) -> str | None:
        """Return an attribute of the answer in radclient's format."""
        _, _, answer = self.output.partition(f"Received {self.kind} ")
        found = re.search(rf"^\t{re.escape(name)} = (.*)$", answer, re.MULTILINE)
        return found[1].strip('"') if found else None


async def radclient(
    port: int,
    mode: Literal["auth", "acct", "status"],
    fields: Mapping[str, str | None],
    *,
    secret: str = SECRET,
    source: str = "127.0.0.1",
    tries: int = 1,
    seconds: float = PATIENCE,
) -> Reply:
    """Send one request to a port of this machine, and wait the given seconds for the answer to each try."""
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    typed = "\n".join([*lines, f"Packet-Src-IP-Address = {source}", ""])
    command = ("radclient", "-x", "-r", str(tries), "-t", str(seconds), f"127.0.0.1:{port}", mode, secret)
    text = (await run(*command, typed=typed)).printed
    found = re.search(r"^Received (\S+) Id", text, re.MULTILINE)
    believed = found is not None and "verification failed" not in text
    return Reply(found[1] if found and believed else "", text)
