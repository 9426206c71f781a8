"""Pages without a token: version, catalogue, health, metrics."""

from __future__ import annotations

import span_events
from span_events.events.catalogue import CATALOGUE
from span_events.metrics import Metric
from tests.web.conftest import WebBench


async def test_the_api_level_is_spans_and_our_version_stands_beside_it(api: WebBench) -> None:
    """Span's tools compare `version` with theirs."""
    plain, extended = [
        (await api.call("GET", f"/span/system{query}", token=None)).body for query in ("", "?extended=1")
    ]

    assert (plain["version"], plain.keys()) == ("4.9.5", {"version", "buildDate", "releaseName"})
    assert extended == plain | {"spanEvents": span_events.__version__}


async def test_the_catalogue_holds_every_event(api: WebBench) -> None:
    """In the catalogue's order, with keys, reasons and hints."""
    events = (await api.call("GET", "/span/events/catalogue", token=None)).body["events"]
    by_name = {each["name"]: each for each in events}
    keys = {each["name"]: each for each in by_name["downstreamFailed"]["keys"]}

    assert list(by_name) == list(CATALOGUE)
    assert all(each["meaning"] and each["hint"] for each in events)
    assert by_name["upstreamMessage"]["extension"] is False
    assert by_name["downstreamFailed"]["extension"] is True
    assert by_name["downstreamFailed"]["severity"] == "error"
    assert keys["detail"] == {
        "name": "detail",
        "meaning": "what the network said",
        "optional": True,
        "extension": False,
    }
    assert [each["value"] for each in keys["reason"]["reasons"]][:2] == ["expired", "deviceRemoved"]
    assert all(each["hint"] for each in keys["reason"]["reasons"])


async def test_health_is_that_of_every_part(api: WebBench) -> None:
    """A part that fails makes the server not ready; alive it is as long as it answers."""
    well = [await api.call("GET", path, token=None) for path in ("/healthz", "/readyz")]
    api.health["bus"] = "not connected to nats://127.0.0.1"
    ill = [await api.call("GET", path, token=None) for path in ("/healthz", "/readyz")]

    assert [(each.status, each.body) for each in well] == [(200, {"status": "ok", "parts": {"registry": "ok"}})] * 2
    assert [(each.status, each.body["status"]) for each in ill] == [(200, "degraded"), (503, "degraded")]
    assert ill[0].body["parts"]["bus"] == "not connected to nats://127.0.0.1"


async def test_metrics_are_prometheus_text(api: WebBench) -> None:
    """Scrapers need no token."""
    api.metrics.append(Metric("subscribers", "Subscribers now.", "gauge", lambda: 3))
    reply = await api.call("GET", "/metrics", token=None)

    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "span_events_subscribers 3.0\n" in reply.body


async def test_the_root_page_explains_how_to_watch(api: WebBench) -> None:
    """The page loads nothing, and may open streams of this server only."""
    reply = await api.call("GET", "/", token=None)

    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
