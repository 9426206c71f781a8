"""Causes of failed handshakes, by the errors of OpenSSL."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from span_events.wire.dtls.engine import Failure
from span_events.wire.openssl import Cause
from span_events.wire.tls.alerts import alert_name

_CERTIFICATE_FAILURES: Final = MappingProxyType(
    {9: Failure.CERTIFICATE_NOT_YET_VALID, 10: Failure.CERTIFICATE_EXPIRED}
    | dict.fromkeys((2, 7, 18, 19, 20, 21), Failure.UNKNOWN_CA)
)
"""Failures by X509_V_ERR_*; a wrong signature (7) comes from another authority with the same name."""
_FAILURES: Final = MappingProxyType(
    {
        "no shared cipher": Failure.NO_SHARED_CIPHER,
        "unsupported protocol": Failure.UNSUPPORTED_VERSION,
        "version too low": Failure.UNSUPPORTED_VERSION,
        "peer did not return a certificate": Failure.NO_CREDENTIALS,
        "psk identity not found": Failure.IDENTITY_REFUSED,
    }
)
"""Failures by OpenSSL's reason strings."""


def failure_of(cause: Cause) -> tuple[Failure, str]:
    """Return the failure for a cause, and its detail."""
    if cause.alert is not None:
        return Failure.CLIENT_ALERT, alert_name(cause.alert)
    return _FAILURES.get(cause.words, Failure.PROTOCOL), cause.words


def certificate_failure_of(error: int) -> Failure:
    """Return the failure for an error of a client's certificate (X509_V_ERR_*)."""
    return _CERTIFICATE_FAILURES.get(error, Failure.CERTIFICATE_INVALID)
