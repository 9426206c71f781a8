"""nginx before the nodes: the example for operators, with the ports of this cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.nodes.servers import ROOT
from scripts.nodes.service import Service, accepts

EXAMPLE: Final = ROOT / "config" / "nginx" / "span-events-nodes.conf"
_MODULE: Final = "/usr/lib/nginx/modules/ngx_stream_module.so"
_CONNECTIONS: Final = 8192
"""Two for each DTLS session, for 15 minutes; nginx's default is 512."""
_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def nginx(folder: Path, listens: Mapping[str, int], nodes: Mapping[str, int]) -> Service:
    """
    Run the example on this machine.

    Args:
        listens: Ports of nginx, by those in the example.
        nodes: Ports of the nodes on 127.0.0.1, by their addresses in the example.
    """
    text = re.sub(
        r" ssl;|^\s*(ssl_certificate|server_name).*\n",
        lambda found: ";" if found[0] == " ssl;" else "",
        EXAMPLE.read_text(),
        flags=re.MULTILINE,
    )
    text = re.sub(r"listen (\d+)", lambda found: f"listen 127.0.0.1:{listens[found[1]]}", text)
    text = re.sub(r"server (10\.\S+)", lambda found: f"server 127.0.0.1:{nodes[found[1]]}", text)
    paths = "".join(f"{each}_temp_path {folder}/nginx-{each};" for each in _TEMPORARY)
    text = text.replace("http {", f"http {{ access_log off; {paths}", 1)
    config = folder / "nginx.conf"
    config.write_text(
        f"load_module {_MODULE};\ndaemon off;\nworker_processes 1;\nworker_rlimit_nofile {_CONNECTIONS};\n"
        f"pid {folder}/nginx-master.pid;\nerror_log {folder}/nginx-errors.log;\n"
        f"events {{ worker_connections {_CONNECTIONS}; }}\n{text}"
    )
    command = ["nginx", "-e", str(folder / "nginx-errors.log"), "-c", str(config)]
    return Service("nginx", command, folder, accepts(listens["443"]))
