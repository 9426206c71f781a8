"""The stage of the fault tests, for the findings of the field."""

from __future__ import annotations

from tests.faults.conftest import firmware, scene, secure, server

__all__ = ["firmware", "scene", "secure", "server"]
