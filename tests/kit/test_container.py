"""The container's command line, as an unprivileged user with a read-only root; and the manifest for Kubernetes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml

from span_events.app.workers.child import START_LIMIT
from span_events.config import Config
from span_events.web.rest.system import ROUTES
from tests.bench.ports import FREE_VARIABLES
from tests.bench.programs import find_program
from tests.bench.waiting import PATIENCE

ROOT: Final = Path(__file__).parents[2]
CONTAINERFILE: Final = (ROOT / "config" / "container" / "Containerfile").read_text()


def manifest(name: str) -> list[dict[str, Any]]:
    """Read a manifest."""
    return list(yaml.safe_load_all((ROOT / "config" / "kubernetes" / name).read_text()))


MANIFEST: Final = manifest("span-events.yaml")
NODES: Final = manifest("span-events-nodes.yaml")
SECRETS: Final = (("bus", "credentials_file"), ("files", "credentials_file"), ("pki", "secret_file"))
"""Settings that name files of secrets."""
CONTAINER: Final = r"""
set -euo pipefail
root=$1 user=$2 environment=$3; shift 3
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
for path in $SHOWN; do
    mkdir -p "$root$(dirname "$path")"
    if [ -L "$path" ]; then cp -P "$path" "$root$path"; continue; fi
    mkdir -p "$root$path"
    mount --bind "$path" "$root$path"
    mount -o remount,bind,ro "$root$path"
done
mkdir -p "$root/opt" "$root/data"
ln -s "$VENV" "$root/opt/span-events"
mount -t tmpfs -o "mode=700,uid=${user%:*},gid=${user#*:}" tmpfs "$root/data"
mount -o remount,ro "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" env -i $environment "$@"
"""
"""Shell script that makes the file system of a container out of this machine's, and becomes its program."""


def instruction(name: str) -> list[str]:
    """Return the arguments of the last instruction of this name, and of all for ENV."""
    found = re.findall(rf"^{name} (.+)$", CONTAINERFILE, re.MULTILINE)
    if name == "ENV":
        return found
    arguments: list[str] = json.loads(found[-1]) if found[-1].startswith("[") else shlex.split(found[-1])
    return arguments


def inspect(process: int) -> tuple[str, dict[str, int]]:
    """Return the state of a process in a container and the owner of each file of its data; its root is read-only."""
    status = Path(f"/proc/{process}/status").read_text()
    root = Path(f"/proc/{process}/root")
    with pytest.raises(OSError, match="Read-only"):
        (root / "opt" / "x").touch()
    return status, {path.name: path.stat().st_uid for path in (root / "data" / "span-events").glob("*")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file system for a test")
async def test_the_command_of_the_container_runs_unprivileged_on_a_read_only_root(tmp_path: Path) -> None:
    """Its data goes to the volume; nothing else can be written, and no privilege can be gained."""
    (user,) = instruction("USER")
    shown = ["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc", "/dev", sys.base_prefix, str(ROOT)]
    variables = [*(f"{name}={value}" for name, value in FREE_VARIABLES.items()), *instruction("ENV")]
    process = await asyncio.create_subprocess_exec(
        *(find_program("unshare"), "--mount", "bash", "-c", CONTAINER, "container"),
        *(str(tmp_path), user, " ".join(variables), *instruction("ENTRYPOINT"), *instruction("CMD")),
        env=os.environ | {"SHOWN": " ".join(shown), "VENV": str(ROOT / ".venv")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    banner = ""
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while "Ctrl-C" not in banner and (line := await process.stdout.readline()):
                banner += line.decode()
        port = re.findall(r"http://0\.0\.0\.0:(\d+)", banner)
        status, owners = inspect(process.pid)
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{port[0]}/readyz") as reply,
        ):
            ready = await reply.json()
    finally:
        if process.returncode is None:
            process.terminate()
        _, complaints = await process.communicate()

    assert ready["status"] == "ok"
    assert re.search(r"^Uid:\s+65532\s+65532", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert owners["admin-token"] == owners["registry.sqlite"] == 65532
    assert process.returncode == 0, complaints.decode()
    assert all(json.loads(line) for line in complaints.decode().splitlines())


def test_the_image_names_a_user_by_number_and_the_ports_of_the_settings() -> None:
    """Kubernetes can see only of a number that it is not root."""
    config = Config()
    (user,) = instruction("USER")

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert set(instruction("EXPOSE")) == {
        *(str(each) for each in (config.http.port, config.gateways.port, config.blobs.port, config.blobs.tls_port)),
        *(f"{each.port}/udp" for each in (config.datagrams, config.coap, config.coaps)),
    }


def test_the_image_is_built_from_files_of_the_checkout_alone() -> None:
    """A checkout may hold a data directory with private keys, which the cache of a build would keep."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
    sources = {each.rstrip("/") for line in copied for each in line.split()}

    assert sources == {
        *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"),
        *("config/requirements-nodes.txt", "config", "span_events"),
    }


def test_the_manifest_fits_the_image_and_itself() -> None:
    """Its labels, ports, probes and configuration are those of the others."""
    kinds = {(each["kind"], each["metadata"]["name"]): each for each in MANIFEST}
    pod = kinds["StatefulSet", "span-events"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    names = {each["name"]: each for each in container["ports"]}
    services = [each["spec"] for (kind, _), each in kinds.items() if kind == "Service"]
    settings = tomllib.loads(kinds["ConfigMap", "span-events"]["data"]["span-events.toml"])
    exposed = {f"{each['containerPort']}{'/udp' if each.get('protocol') == 'UDP' else ''}" for each in names.values()}

    assert Config(**settings).http.host == "0.0.0.0"
    assert exposed == set(instruction("EXPOSE"))
    assert container["args"][:3] == instruction("CMD")[:3]
    assert all(service["selector"] == pod["metadata"]["labels"] for service in services)
    for port in (port for service in services for port in service["ports"]):
        assert names[port["targetPort"]]["containerPort"] == port["port"]
        assert names[port["targetPort"]].get("protocol") == port.get("protocol")
    paths = {container[each]["httpGet"]["path"] for each in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths <= {route.path for route in ROUTES}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["spec"]["securityContext"]["runAsUser"] == int(instruction("USER")[0].split(":")[0])
    assert kinds["StatefulSet", "span-events"]["spec"]["replicas"] == 1


def test_kubernetes_waits_for_the_longest_start() -> None:
    """A migration that is killed begins again with the next start, for ever."""
    probes = [
        container["startupProbe"]
        for document in (*MANIFEST, *NODES)
        if document["kind"] in ("Deployment", "StatefulSet")
        for container in document["spec"]["template"]["spec"]["containers"]
    ]

    assert len(probes) == 3
    assert min(each["failureThreshold"] * each["periodSeconds"] for each in probes) >= START_LIMIT


def test_the_manifest_of_several_nodes_fits_the_image_and_itself() -> None:
    """Both roles are nodes of one cluster; together they have the image's ports, and each service finds its pods."""
    kinds = {(each["kind"], each["metadata"]["name"]): each for each in NODES}
    settings = tomllib.loads(kinds["ConfigMap", "span-events-nodes"]["data"]["span-events.toml"])
    secrets = kinds["Secret", "span-events-nodes"]["stringData"]
    registry = {"url": secrets["registry"]}
    exposed: set[str] = set()
    for role in ("web", "devices"):
        pod = kinds["Deployment", f"span-events-{role}"]["spec"]["template"]
        service = kinds["Service", f"span-events-{role}"]["spec"]
        (container,) = pod["spec"]["containers"]
        names = {each["name"]: each for each in container["ports"]}
        exposed |= {f"{each['containerPort']}{'/udp' if 'protocol' in each else ''}" for each in names.values()}
        read_only = {each["mountPath"] for each in container["volumeMounts"] if each.get("readOnly")}

        assert container["args"][:3] == ["serve", "--role", role]
        assert Config.model_validate({**settings, "role": role, "registry": registry}).is_cluster
        assert service["selector"] == pod["metadata"]["labels"]
        assert {names[each["targetPort"]]["containerPort"] for each in service["ports"]} == {
            each["port"] for each in service["ports"]
        }
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert read_only == {"/config", "/secrets"}
        assert container["env"][0]["valueFrom"]["secretKeyRef"]["key"] in secrets
        assert pod["spec"]["securityContext"]["runAsUser"] == int(instruction("USER")[0].split(":")[0])
    files = [settings[table][key] for table, key in SECRETS]

    assert exposed == set(instruction("EXPOSE"))
    assert {path.removeprefix("/secrets/") for path in files} <= secrets.keys()
