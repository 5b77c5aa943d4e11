"""What a single value of the settings may be. Every number has an end.

Beyond these ends nothing is meant, and clocks, sockets and memory overflow.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from cmnas_edge.sighting import NAME_WORDS

__all__ = ["Count", "Name", "NotNegative", "Point", "Positive", "Rate", "Share", "Side", "Start", "Threads",
           "Views"]

# `$` would let a line feed pass.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}\Z", description=NAME_WORDS)]
Positive = Annotated[float, Meta(ge=1e-3, le=1e6)]
NotNegative = Annotated[float, Meta(ge=0, le=1e6)]
Rate = Annotated[float, Meta(ge=1e-3, le=1e3)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1, le=65535)]
Views = Annotated[int, Meta(ge=1, le=16)]
Threads = Annotated[int, Meta(ge=1, le=256)]
# A year before the last second a sighting may carry, so that the footage ends before it.
Start = Annotated[float, Meta(ge=0, le=2.0**33 - 366 * 86400)]
Point = tuple[float, float]
Side = Annotated[int, Meta(ge=16, le=16384)]
