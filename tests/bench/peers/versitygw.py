"""An object store with S3's API for tests: Versity's gateway over a folder (`scripts/test` installs it where Go is)."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Final, Self

import pytest

from tests.bench.ports import free_port
from tests.bench.waiting import PATIENCE

PROGRAM: Final = Path(__file__).parents[3] / ".cache" / "go" / "versitygw"
BUCKET: Final = "span-events"
ACCESS_KEY, SECRET_KEY = "an-access-key", "an invented secret key"

needs_versitygw: Final = pytest.mark.skipif(
    not PROGRAM.exists(), reason="versitygw is missing: install Go, and run scripts/test"
)


class ObjectStoreServer:
    """
    One server that may be killed and started again; the objects stay.

    Args:
        folder: Where objects and credentials are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket = folder / "objects" / BUCKET
        self.bucket.mkdir(parents=True)
        (folder / "meta").mkdir()
        self.credentials = folder / "credentials"
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def settings(self, prefix: str = "") -> dict[str, str]:
        """Return the settings of a server that keeps its files here."""
        url = f"s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{self.port}"
        return {"url": url, "credentials_file": str(self.credentials)}

    def start(self) -> None:
        """Start, and return when it accepts connections."""
        assert self._process is None, "it runs"
        command = [
            *(str(PROGRAM), "--port", f"127.0.0.1:{self.port}", "--access", ACCESS_KEY, "--secret", SECRET_KEY),
            *("--quiet", "posix", "--sidecar", str(self.folder / "meta"), str(self.folder / "objects")),
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = process = subprocess.Popen(command, stdout=log, stderr=log)
        patience = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                is_starting = process.poll() is None and time.monotonic() < patience
                assert is_starting, (self.folder / "log").read_text()
                time.sleep(0.005)
            else:
                return

    def kill(self) -> None:
        """Kill it at once; nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE)

    def pause(self) -> None:
        """Stop answering; connections stay open."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGCONT)

    def keys(self, prefix: str) -> list[str]:
        """List the objects below a prefix, in order."""
        top = self.bucket / prefix
        return sorted(str(each.relative_to(top)) for each in top.rglob("*") if each.is_file())
