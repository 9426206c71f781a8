"""Configuration: one place for settings, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from span_events import config
from span_events.errors import ConfigurationError

ROOT = Path(__file__).parent.parent
FILE = ROOT / "config" / "span-events.toml"


def test_the_file_in_the_checkout_is_what_the_package_renders() -> None:
    """Every setting stands in it, with its meaning and its default."""
    assert FILE.read_text() == config.render_file()


def test_the_file_changes_nothing() -> None:
    """It holds the defaults."""
    assert config.load(FILE) == config.load()


def test_the_readme_table_is_what_the_package_renders() -> None:
    """Documentation that cannot fall behind."""
    assert config.render_table() in (ROOT / "README.md").read_text()


def test_every_setting_has_a_meaning() -> None:
    """A sentence that ends with a full stop."""
    meanings = {
        f"{name}.{key}": field.description or ""
        for name, section in config.sections()
        for key, field in section.model_fields.items()
    }

    assert [path for path, meaning in meanings.items() if not meaning.endswith(".")] == []


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPAN_EVENTS_HTTP__PORT is port in [http]; other settings keep the file's value."""
    path = tmp_path / "c.toml"
    path.write_text('[http]\nport = 1\nhost = "::1"\n')
    monkeypatch.setenv("SPAN_EVENTS_HTTP__PORT", "0")
    loaded = config.load(path)

    assert (loaded.http.port, loaded.http.host) == (0, "::1")


def test_all_faults_are_reported_at_once_with_their_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file and from the environment, values and unknown names alike."""
    path = tmp_path / "c.toml"
    path.write_text(
        'spam = 1\n[http]\nport = "a"\n[events]\nprofile = "x"\n[radius]\nhost = 3\n'
        '[pki]\nserver_names = ["A.example", "a b"]\n'
    )
    monkeypatch.setenv("SPAN_EVENTS_COAP__PORT", "70000")
    monkeypatch.setenv("SPAN_EVENTS_HTTP__PROT", "1")
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)

    assert sorted(caught.value.faults) == [
        "coap.port: '70000' is above 65535 (from SPAN_EVENTS_COAP__PORT)",
        "events.profile: 'x' is not 'extended' or 'span'",
        "http.port: 'a' is not a whole number",
        "http.prot: there is no such setting (from SPAN_EVENTS_HTTP__PROT)",
        "pki.server_names.1: 'a b' is neither an IP address nor a host name",
        "radius.host: 3 is not text",
        "spam: there is no such setting",
    ]


def test_a_missing_underscore_is_noticed_and_other_variables_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """COAP_PORT would be overlooked; what a cluster sets for a service of our name is none of our business."""
    monkeypatch.setenv("SPAN_EVENTS_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("SPAN_EVENTS_PORT", "tcp://10.0.0.1:8080")
    config.load()
    monkeypatch.setenv("SPAN_EVENTS_COAP_PORT", "1")
    with pytest.raises(ConfigurationError, match="two underscores stand after the table: SPAN_EVENTS_COAP__PORT"):
        config.load()


@pytest.mark.parametrize(
    ("text", "name"),
    [("Data.Example.ORG", "data.example.org"), ("*.lab", "*.lab"), ("2001:DB8::0", "2001:db8::"), ("a-1", "a-1")],
)
def test_a_name_of_the_server_is_written_as_certificates_do(text: str, name: str) -> None:
    """Host names in lower case, addresses in their shortest form."""
    assert config.PkiConfig(server_names=(text,)).server_names == (name,)


@pytest.mark.parametrize("text", ["", "-a", "a..b", "a.*", "https://a", "a:1234", "x" * 64, "grün.example", "a."])
def test_what_no_certificate_can_carry_is_no_name_of_the_server(text: str) -> None:
    with pytest.raises(ValueError, match="neither an IP address nor a host name"):
        config.PkiConfig(server_names=(text,))


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"[http\n", "is not TOML: "), (b"\xff", r"is not UTF-8 \(octet 0\)"), (None, "cannot be read: No such file")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, fault: str) -> None:
    """The message begins with the path."""
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"c.toml: {fault}"):
        config.load(path)


def test_a_variable_of_a_table_that_is_not_there_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the others; one without a table may be somebody else's (Kubernetes: SPAN_EVENTS_SERVICE_HOST)."""
    monkeypatch.setenv("SPAN_EVENTS_HTPP__PORT", "1")
    monkeypatch.setenv("SPAN_EVENTS_COAP__PORT", "70000")
    monkeypatch.setenv("SPAN_EVENTS_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(ConfigurationError) as caught:
        config.load()

    assert caught.value.faults == (
        "htpp.port: there is no such setting (from SPAN_EVENTS_HTPP__PORT)",
        "coap.port: '70000' is above 65535 (from SPAN_EVENTS_COAP__PORT)",
    )


def test_numbers_that_cannot_be_used_are_faults(tmp_path: Path) -> None:
    """Endless times, and buffers beyond what the kernel counts, would fail later and elsewhere."""
    file = tmp_path / "config.toml"
    file.write_text("[downstream]\nexpiry = inf\n[fanout]\nsend_buffer = 2147483648\n")
    with pytest.raises(ConfigurationError) as caught:
        config.load(file)

    assert caught.value.faults == (
        "downstream.expiry: inf is not a finite number",
        "fanout.send_buffer: 2147483648 is above 2147483647",
    )
