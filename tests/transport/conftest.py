"""Logging as each test finds it, and what the sending half of a device logs."""

from __future__ import annotations

from tests.logs import loggers_as_they_were, said

__all__ = ["loggers_as_they_were", "said"]
