"""Configuration: one place for settings, all faults at once."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from span_events import config
from span_events.config import FirmwareConfig
from span_events.errors import ConfigurationError
from span_events.wire.fota import MAX_HOST, MAX_PATH, Response, encode_response

ROOT = Path(__file__).parents[2]
FILE = ROOT / "config" / "span-events.toml"
BUFFERS = [path for path, _ in config.every_setting() if path.endswith(("receive_buffer", "send_buffer"))]


def test_the_file_in_the_checkout_is_what_the_package_renders() -> None:
    """Every setting stands in it, with its meaning and its default."""
    assert FILE.read_text() == config.render_file()


def test_the_file_changes_nothing() -> None:
    """It holds the defaults."""
    assert config.load(FILE) == config.load()


def test_the_guide_to_settings_is_what_the_package_renders() -> None:
    """Documentation that cannot fall behind."""
    assert (ROOT / "span_events" / "guides" / "settings.md").read_text() == config.render_guide()


def test_every_setting_has_a_meaning() -> None:
    """A sentence that ends with a full stop."""
    meanings = {path: field.description or "" for path, field in config.every_setting()}

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
        "http.port: 'a' is not a whole number, such as 8080",
        "http.prot: there is no such setting; did you mean http.port? (from SPAN_EVENTS_HTTP__PROT)",
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
        "htpp.port: there is no such setting; did you mean http.port? (from SPAN_EVENTS_HTPP__PORT)",
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


WANTED = "wanted postgresql+asyncpg://USER@HOST/DATABASE, or nothing for SQLite"


def test_a_value_of_a_wrong_type_is_refused_in_our_words(tmp_path: Path) -> None:
    """Whatever the setting and the type; pydantic's own texts begin with Input, Value or Field."""
    file = tmp_path / "config.toml"
    settings = [path.rpartition(".") for path, _ in config.every_setting() if "[]" not in path]
    tables = dict.fromkeys(table for table, _, _ in settings)
    for value in ("true", "16.5", "1e300", '"30s"', "[1]", "{ a = 1 }", "1979-05-27", "-1", "99999999999999999999"):
        lines = (
            f"[{each}]\n" + "".join(f"{key} = {value}\n" for table, _, key in settings if table == each)
            for each in tables
        )
        file.write_text("".join(lines))
        with pytest.raises(ConfigurationError) as caught:
            config.load(file)

        assert [each for each in caught.value.faults if re.search(": (Input|Value|Field|List|Dict|Tuple)", each)] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[http]\nserver_names = []\n", "http.server_names: there is no such setting; did you mean pki.server_names?"),
        ("[colours]\nred = 1\n", "colours: there is no such setting"),
        ("port = 1\n", "port: there is no such setting"),
        ("workers = true\n", "workers: true is not a number"),
        ("[http]\nport = false\n", "http.port: false is not a number"),
        ('[streams]\nping_interval = "30s"\n', "streams.ping_interval: '30s' is not a number, such as 30.0"),
        ("[messages]\nmax_payload = 0.5\n", "messages.max_payload: 0.5 is not a whole number, such as 16384"),
        ('[pki]\nserver_names = "a.example"\n', "pki.server_names: 'a.example' is not a list: write ['a.example']"),
        (
            '[registry]\nurl = "postgres://u:hunter2@h/d"\n',
            f"registry.url: begins with postgres://, {WANTED}",
        ),
        (
            '[registry]\nurl = "hunter2"\n',
            f"registry.url: is no URL, {WANTED}",
        ),
    ],
)
def test_a_fault_says_what_to_write_instead(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        config.load(file)

    assert caught.value.faults == (fault,)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"coap": {"port": 5700}, "coaps": {"port": 5700}}, "coaps.port: 5700/udp is coap.port, too"),
        ({"http": {"port": 8081}}, "blobs.port: 8081/tcp is http.port, too"),
        ({"http": {"port": 1883}, "mqtt": {"host": "0.0.0.0"}}, "mqtt.port: 1883/tcp is http.port, too"),
        ({"http": {"port": 8081, "host": "::"}}, "blobs.port: 8081/tcp is http.port, too"),
        ({"http": {"port": 8081, "host": "::1"}, "blobs": {"host": "0.0.0.0"}}, ""),
        ({"http": {"port": 1234}}, ""),  # TCP beside UDP
        ({"coap": {"port": 0}, "coaps": {"port": 0}}, ""),
        ({"coap": {"port": 5700}, "coaps": {"port": 5700, "host": "127.0.0.2"}}, ""),
        ({"coap": {"port": 5700}, "coaps": {"port": 5700, "enabled": False}}, ""),
        ({"http": {"port": 8081}, "blobs": {"enabled": False}}, ""),
        ({"coap": {"port": 1812}}, ""),  # no mobile core may ask, so RADIUS is off
    ],
)
def test_two_listeners_with_one_port_are_refused(settings: dict[str, Any], fault: str) -> None:
    """Before the start, which would only tell that the address is in use."""
    if not fault:
        config.Config(**settings)
        return
    with pytest.raises(ValidationError, match=fault):
        config.Config(**settings)


@pytest.mark.parametrize("setting", BUFFERS)
def test_no_buffer_is_larger_than_the_kernel_counts(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"SPAN_EVENTS_{setting.replace('.', '__').upper()}", str(1 << 31))
    with pytest.raises(ConfigurationError, match=f"{setting}: '2147483648' is above 2147483647"):
        config.load()


NAS = {"name": "pgw1", "addresses": ["192.0.2.10"], "secret": "an invented one"}


def radius(*entries: object, **settings: object) -> config.RadiusConfig:
    """The table [radius] with these NAS."""
    return config.RadiusConfig.model_validate({"nas": entries, **settings})


def test_the_example_of_a_nas_can_be_used_as_it_is(tmp_path: Path) -> None:
    """But for its file with the secret: without the comment signs it is a NAS with the defaults."""
    secret = tmp_path / "secret"
    secret.write_text("an invented one\n")
    lines = [line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in config.render_file().splitlines()]
    file = tmp_path / "config.toml"
    text = "\n".join(lines).replace("/etc/span-events/broker.secret", str(secret))
    file.write_text(text.replace("/etc/span-events/pgw1.secret", str(secret)))
    (nas,) = config.load(file).radius.nas

    assert (
        nas
        == radius(
            {**NAS, "addresses": ["192.0.2.10", "2001:db8:1::/64"], "secret_file": str(secret), "secret": ""}
        ).nas[0]
    )
    assert nas.secret.get_secret_value() == "an invented one"


def test_a_nas_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them as JSON, for secrets that are in no file."""
    monkeypatch.setenv("SPAN_EVENTS_RADIUS__NAS", json.dumps([NAS]))

    assert config.load().radius == radius(NAS)


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    """Not where a setting is wrong, and not with the whole configuration."""
    file = tmp_path / "config.toml"
    file.write_text('[[radius.nas]]\nname = "a"\naddresses = ["192.0.2.1"]\nsecret = 314159265\n')
    with pytest.raises(ConfigurationError) as number:
        config.load(file)
    file.write_text('[radius]\nnas = ["hunter2hunter2"]\n')
    with pytest.raises(ConfigurationError) as text:
        config.load(file)

    file.write_text('[[radius]]\nnas = [{ name = "a", secret = "hunter2hunter2" }]\n')
    with pytest.raises(ConfigurationError) as section:
        config.load(file)

    assert number.value.faults == ("radius.nas.0.secret: what stands there is not text",)
    assert section.value.faults == ("radius: what stands there is not a table",)
    assert text.value.faults == ("radius.nas.0: what stands there is not a table",)
    assert "invented" not in repr(radius(NAS))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"name": ""}, "radius.nas.0.name: is empty"),
        ({"addresses": []}, "radius.nas.0.addresses: is empty"),
        ({"addresses": ["pgw1"]}, "radius.nas.0.addresses.0: 'pgw1' is neither an IP address nor a prefix"),
        (
            {"addresses": ["10.0.0.1/8"]},
            "radius.nas.0.addresses.0: '10.0.0.1/8' is an address in 10.0.0.0/8: which of them?",
        ),
        ({"addresses": ["::1", "::/0"]}, "radius.nas.0.addresses.1: '::/0' is every address"),
        ({"secret": ""}, "radius.nas.0.secret: is empty, and there is no secret_file"),
        ({"secret_file": "GOOD"}, "radius.nas.0.secret: stands beside secret_file: one of them is enough"),
        ({"secret": "", "secret_file": "EMPTY"}, "radius.nas.0.secret_file: EMPTY is empty"),
        ({"secret": "", "secret_file": "BINARY"}, "radius.nas.0.secret_file: BINARY cannot be read: it is not UTF-8"),
        (
            {"secret": "", "secret_file": "nowhere"},
            "radius.nas.0.secret_file: nowhere cannot be read: No such file or directory",
        ),
        ({"interim_interval": -1}, "radius.nas.0.interim_interval: -1 is below 0"),
        ({"port": 1}, "radius.nas.0.port: there is no such setting; did you mean radius.port?"),
    ],
)
def test_a_fault_of_a_nas_is_named_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], fault: str
) -> None:
    """Each for itself, as the file would have it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "GOOD").write_text("an invented one\n")
    (tmp_path / "EMPTY").write_text("\n")
    (tmp_path / "BINARY").write_bytes(b"\xff")
    values = "\n".join(f"{key} = {json.dumps(value)}" for key, value in (NAS | change).items())
    (tmp_path / "config.toml").write_text(f"[[radius.nas]]\n{values}\n")
    with pytest.raises(ConfigurationError) as caught:
        config.load(tmp_path / "config.toml")

    assert caught.value.faults == (fault,)


BROKER = {"name": "a", "url": "mqtt://b", "collection": "17dj5j4ce8bkci"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ([{"url": "http://b"}], ".0.url: 'http://b' is no broker: mqtt://HOST:1883, or mqtts://HOST:8883 for TLS"),
        (
            [{"collection": "home"}],
            ".0.collection: 'home' is no id of a collection; `span-events collection list` shows them",
        ),
        ([{"topics": []}], ".0.topics: is empty"),
        ([{"topics": ["a/#/b"]}], ".0.topics.0: 'a/#/b' is no topic filter of MQTT"),
        ([{"topics": ["a+"]}], ".0.topics.0: 'a+' is no topic filter of MQTT: + stands for a whole level"),
        ([{"password": "c"}], ".0: username: is missing; MQTT 3.1.1 has no password without a user name"),
        ([{"ca": "c.pem"}], ".0: url: has no TLS, so ca and certificate mean nothing; write mqtts://"),
        (
            [{"username": "u", "password_file": "nowhere"}],
            ".0.password_file: nowhere cannot be read: No such file or directory",
        ),
        ([{"password": 314159265}], ".0.password: what stands there is not text"),
        ([{}, {}], ": two tables have the name a"),
    ],
)
def test_a_fault_of_a_broker_is_named_with_its_path(
    monkeypatch: pytest.MonkeyPatch, changes: list[dict[str, object]], fault: str
) -> None:
    monkeypatch.setenv("SPAN_EVENTS_CHIRPSTACK__BROKERS", json.dumps([BROKER | each for each in changes]))
    with pytest.raises(ConfigurationError) as caught:
        config.load()

    assert caught.value.faults[0].partition(" (from")[0] == f"chirpstack.brokers{fault}"


def test_a_nas_without_its_needs_is_told_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[[radius.nas]]\n")
    with pytest.raises(ConfigurationError) as caught:
        config.load(file)

    assert caught.value.faults == (
        "radius.nas.0.name: is missing",
        "radius.nas.0.addresses: is missing",
        "radius.nas.0.secret: is empty, and there is no secret_file",
    )


@pytest.mark.parametrize(
    ("second", "what"),
    [
        ({"name": "pgw1", "addresses": ["192.0.2.11"]}, "two tables have the name pgw1"),
        ({"name": "pgw2"}, "192.0.2.10/32 stands in two tables, those of pgw1 and pgw2"),
        ({"name": "pgw2", "addresses": ["192.0.2.10/32"]}, "192.0.2.10/32 stands in two tables"),
    ],
)
def test_two_nas_share_neither_a_name_nor_an_address(second: dict[str, object], what: str) -> None:
    """Prefixes may overlap: the longest counts."""
    with pytest.raises(ValueError, match=what):
        radius(NAS, NAS | second)

    assert len(radius(NAS, NAS | {"name": "pgw2", "addresses": ["192.0.2.0/24"]}).nas) == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[radius.nas]\nname = "a"\naddresses = ["192.0.2.1"]\nsecret = "hunter2hunter2"\n',
            "radius.nas: is one table; write [[radius.nas]] with double brackets",
        ),
        ('[radius]\ndns = ["10.0.0.1", "x"]\n', "radius.dns.1: 'x' is not an IP address"),
        (
            "[radius]\nport = 1900\naccounting_port = 1900\n",
            "radius.accounting_port: 1900 is radius.port too: accounting needs a port of its own",
        ),
        (
            '[cellular]\npool = ["10.1.0.0/16", "2001:db8::/48", "10.0.0.0/8"]\n',
            "cellular.pool: 10.1.0.0/16 and 10.0.0.0/8 overlap",
        ),
    ],
)
def test_what_is_easily_got_wrong_about_the_mobile_core_is_named(tmp_path: Path, text: str, fault: str) -> None:
    """In words that say what to write, and never the secret."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)

    assert caught.value.faults == (fault,)


def test_ports_that_are_free_ones_are_not_the_same() -> None:
    """0 picks one for each."""
    assert radius(port=0, accounting_port=0).accounting_port == 0


def test_dns_servers_find_room_in_an_answer() -> None:
    """Two of IPv4, and as many of IPv6 as an attribute can hold."""
    v6 = [f"2001:db8::{number}" for number in range(15)]

    assert len(radius(dns=["10.0.0.1", "10.0.0.2", *v6]).dns) == 17
    with pytest.raises(ValueError, match="3 servers of IPv4, wanted at most 2"):
        radius(dns=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    with pytest.raises(ValueError, match="16 servers of IPv6, wanted at most 15"):
        radius(dns=[*v6, "::1"])


@pytest.mark.parametrize(
    ("prefix", "fault"),
    [
        ("10.0.0.1/24", "has host bits set"),
        ("2001:db8::/65", "has no room for /64 prefixes"),
        ("10.0.0", "is not a prefix of addresses"),
    ],
)
def test_a_pool_is_made_of_prefixes_that_addresses_can_be_given_out_of(prefix: str, fault: str, tmp_path: Path) -> None:
    """The fault names which of them is none."""
    path = tmp_path / "c.toml"
    path.write_text(f'[cellular]\npool = ["10.1.0.0/16", "2001:db8::/48", "{prefix}"]\n')
    with pytest.raises(ConfigurationError, match=rf"^cellular\.pool\.2: '{prefix}' .*{fault}"):
        config.load(path)


@pytest.mark.parametrize("text", ["", "fw.example.com", "192.0.2.1", "2001:db8::1", "x" * 20 + ".com"])
def test_a_host_that_devices_can_download_from_is_taken(text: str) -> None:
    """Empty is the address that they reached."""
    assert FirmwareConfig(coap_host=text).coap_host == text


@pytest.mark.parametrize("text", ["x" * 21 + ".com", "http://fw", "fw:5683", "grün.example"])
def test_a_host_that_devices_have_no_room_for_is_a_fault(text: str) -> None:
    """24 characters, or their buffers overflow; and a name or an address."""
    with pytest.raises(ValidationError):
        FirmwareConfig(coaps_host=text)


@pytest.mark.parametrize("text", ["fw", "/", "/fw/", "//fw", "/u", "/blob", "/firmwares", "/f w", "/fw?x"])
def test_a_path_that_devices_cannot_use_is_a_fault(text: str) -> None:
    """9 characters with the slash; neither that of reports nor that of blobs."""
    with pytest.raises(ValidationError):
        FirmwareConfig(path=text)


def test_the_limits_of_the_download_are_those_of_its_codec() -> None:
    """What the configuration takes can be written."""
    place = FirmwareConfig(coap_host="x" * MAX_HOST, path="/" + "x" * (MAX_PATH - 1))

    assert encode_response(Response(place.coap_host, 0, place.path, available=True))


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://h", "'http://h' is not nats://HOST:PORT or tls://HOST:PORT"),
        ("nats://a,b", "'b' is not nats://HOST:PORT or tls://HOST:PORT"),
        ("nats://h:x", "'nats://h:x' is not nats://HOST:PORT or tls://HOST:PORT"),
        ("nats://me:secret@h", "the login for h belongs in the file that bus.credentials_file names"),
    ],
)
def test_a_nats_server_that_is_no_url_is_named_and_a_login_is_not_shown(url: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f'[bus]\nurl = "{url}"\n')
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)

    assert caught.value.faults == (f"bus.url: {fault}",)
    assert config.BusConfig(url="nats://a:1, tls://b").servers == ("nats://a:1", "tls://b")
