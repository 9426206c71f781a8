"""Progress of `simulate`: lines while it runs, and a summary at the end."""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import fields
from time import monotonic
from typing import Final

import click

from span_events.cli.options import Session
from span_events.cli.output import show_json
from span_events.simulator.chirpstack.network import NetworkStatistics
from span_events.simulator.devices import Statistics
from span_events.simulator.gateways.gateway import GatewayStatistics

AnyStatistics = Statistics | GatewayStatistics | NetworkStatistics

_REPORT_PAUSE: Final = 1.0
"""Seconds between two lines of statistics."""


def note(sentence: str) -> None:
    """Print a note on standard error, on a line of its own."""
    before = "\r\x1b[K" if sys.stderr.isatty() else ""
    click.echo(f"{before}-- {sentence}", err=True)


def devices(count: int) -> str:
    """Return a number of devices as text."""
    return f"{count} device{'' if count == 1 else 's'}"


async def report(statistics: AnyStatistics) -> None:
    """Keep a line with the statistics on standard error, one over the other on a terminal."""
    began, before = monotonic(), 0
    on_terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(_REPORT_PAUSE if on_terminal else 10 * _REPORT_PAUSE)
        rate = (statistics.sent - before) / (_REPORT_PAUSE if on_terminal else 10 * _REPORT_PAUSE)
        before = statistics.sent
        line = f"{monotonic() - began:6.0f} s  {rate:.1f}/s  {_counts(statistics)}"
        if on_terminal:  # a line that wraps could not be written over
            line = f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}"
        click.echo(line, err=True, nl=not on_terminal)


def _counts(statistics: AnyStatistics) -> str:
    if isinstance(statistics, Statistics):
        words = [_sent(statistics)]
        counted = {
            "attached": statistics.attached,
            "not let in": statistics.not_attached,
            "downstream": statistics.downstream,
            "sent again": statistics.retransmissions,
            "unanswered": statistics.unanswered,
            "unreachable": statistics.unreachable,
            "updated": statistics.updated,
            **dict(sorted(statistics.refused.items())),
        }
    elif isinstance(statistics, NetworkStatistics):
        words = [f"sent {statistics.sent}"]
        counted = {**dict(sorted(statistics.outcomes.items())), "lost": statistics.lost}
    else:
        words = [f"sent {statistics.sent}"]
        counted = {
            "connected": statistics.connected,
            "not let in": statistics.not_connected,
            "downstream": statistics.downstream,
            "lost": statistics.lost,
            "keepalives": statistics.keepalives,
            **dict(sorted(statistics.ended.items())),
        }
    counted |= dict(sorted(statistics.faults.items()))
    return "  ".join([*words, *(f"{word} {number}" for word, number in counted.items() if number)])


def _sent(statistics: Statistics) -> str:
    """Return the sent messages, and the answered share of those that expect an answer."""
    udp, coap = statistics.over_udp, statistics.sent - statistics.over_udp
    parts = [f"{udp} over UDP, which has no answers"] if udp else []
    if coap:
        parts.append(f"{coap} over CoAP, {statistics.answered} answered")
    return f"sent {statistics.sent}" + (f" ({'; '.join(parts)})" if parts else "")


def show_summary(session: Session, statistics: AnyStatistics, seconds: float) -> None:
    """Print the totals of a run."""
    if session.as_json:
        counts = {each.name: getattr(statistics, each.name) for each in fields(statistics)}
        return show_json({**counts, "seconds": round(seconds, 3)})  # asdict() cannot copy a Counter
    if sys.stderr.isatty():
        click.echo(err=True)
    return click.echo(f"{seconds:.1f} s  {statistics.sent / seconds:.1f}/s  {_counts(statistics)}")
