"""The sums of memory in the security guide are those of the settings, and its small configuration is valid."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import span_events
from span_events.config import Config

GUIDE: Final = (Path(span_events.__file__).parent / "guides" / "security.md").read_text()
ROWS: Final = re.findall(r"^\| [^|]+ \| ([^|]+) \| `(\w+)\.(\w+)` \| (\d+) \| (\d+) \| (\d+) \|$", GUIDE, re.MULTILINE)
"""What is held, section, setting, number at most, kB each, MB."""
SERVER_MB: Final = 115
SESSION_KB: Final = 82
"""Memory of a DTLS session with a certificate, as the guide on limits has it."""
SOCKETS: Final = 3


def small() -> Config:
    """Return the configuration for a container of 256 MB."""
    (block,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    return Config(**tomllib.loads(block))


def ports(what: str) -> int:
    """Return the number of ports that a bound holds for."""
    return 2 if "both ports" in what else 1


def strangers_mb(config: Config) -> float:
    """Return the memory that strangers can hold."""
    held = (
        ports(what) * getattr(getattr(config, section), name) * int(each) for what, section, name, _, each, _ in ROWS
    )
    return float(sum(held)) / 1000


def test_security_B5_the_sums_are_those_of_the_default_settings() -> None:
    assert len(ROWS) == 8
    for what, section, name, most, each, total in ROWS:
        bound = getattr(getattr(Config(), section), name)
        assert int(most) == bound * ports(what), what
        assert int(total) == int(most) * int(each) // 1000, what


def test_security_B5_the_small_configuration_fits_a_container_of_256_mb() -> None:
    """With all of its devices, strangers, history and buffers at their bounds."""
    config = small()
    sockets = (config.datagrams, config.coap, config.coaps)
    buffers = (
        config.events.history_octets * 1.25
        + config.fanout.total_buffer
        + config.messages.inbox_octets
        + sum(each.receive_buffer for each in sockets)
    )
    sessions = 2 * config.dtls.sessions * SESSION_KB / 1000

    assert strangers_mb(config) + buffers / 1e6 <= 85
    assert SERVER_MB + strangers_mb(config) + buffers / 1e6 + sessions <= 256
