"""What the sending half of a device logs."""

from __future__ import annotations

from tests.logs import said

__all__ = ["said"]
