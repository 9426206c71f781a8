"""An authority that has nothing to do with the server of this project."""

from __future__ import annotations

import ssl
import tempfile
import time

from span_events.pki import issuing
from span_events.simulator.gateways.control_stream import Credentials


class OtherAuthority:
    """A root, an intermediate, and their certificates."""

    def __init__(self) -> None:
        now = int(time.time())
        self._period = issuing.Period(now - 3600, now + 3600)
        root = issuing.make_root("1", self._period)
        self._intermediate = issuing.make_intermediate(root, "intermediate", self._period)
        self.root_pem = root.certificate_pem

    def credentials(self, *, server: bool = False) -> Credentials:
        """Make a certificate of a gateway, or of a server on this machine."""
        key = issuing.make_key()
        leaf = issuing.make_leaf(
            self._intermediate,
            key.public_key(),
            name="somebody",
            unit="server" if server else "gateway",
            purpose=issuing.SERVER if server else issuing.CLIENT,
            period=self._period,
            server_names=["127.0.0.1"] if server else [],
        )
        chain = issuing.certificate_pem(leaf) + self._intermediate.certificate_pem + self.root_pem
        return Credentials(chain, issuing.key_pem(key))

    def server_context(self) -> ssl.SSLContext:
        """Build the TLS context of a server without client certificates."""
        context, shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.credentials(server=True)
        with tempfile.NamedTemporaryFile() as file:
            file.write(shown.key_pem + shown.certificates_pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context
