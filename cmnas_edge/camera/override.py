"""Somebody else knows what a camera sees with: a file that a script writes, or a message by way of the broker.

Who is nearer to the camera is believed first: its own settings (``spectrum.modality``), then the file
(``spectrum.modality_file``), then MQTT, then the picture. Each may say ``auto``, which leaves it to the next.
"""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Literal

from cmnas_edge.camera.settings import SpectrumSettings

__all__ = ["Order", "OrderFile", "Ordered", "Orders"]

Order = Literal["auto", "visible", "infrared"]

_log = logging.getLogger("cmnas.camera")
_ORDERS: Final[dict[str, Order]] = {"auto": "auto", "visible": "visible", "infrared": "infrared"}
_LOOK_S: Final = 1.0
_LONGEST: Final = 64    # bytes; more is no order, and not read


class OrderFile:
    """A file with one word, looked at once a second at most; a missing one orders nothing.

    What is no order, or cannot be read, is said once, and the last order stays.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._look_at = clock()
        self._order: Order = "auto"
        self._puzzle = ""   # no order, seen at the last look: it may be half written
        self._said = ""

    def __call__(self) -> Order:
        """What the file orders now."""
        if (now := self._clock()) < self._look_at:
            return self._order
        self._look_at = now + _LOOK_S
        try:
            self._read()
        except FileNotFoundError:
            self._order, self._puzzle, self._said = "auto", "", ""
        except OSError as error:
            self._puzzled(error.strerror or str(error))
        return self._order

    def _read(self) -> None:
        if not stat.S_ISREG(self._path.stat().st_mode):     # opening a pipe would wait for its writer
            self._puzzled("something that is no file")
            return
        with self._path.open("rb") as file:
            text = file.read(_LONGEST + 1)
        if (order := _order(text)) is None:
            self._puzzled(f"{text[:_LONGEST]!r}")
        else:
            self._order, self._puzzle, self._said = order, "", ""

    def _puzzled(self, found: str) -> None:
        if found == self._puzzle != self._said:
            self._said = found
            _log.warning("%s: expected one of %s, found %s; it stays %s until that is corrected", self._path,
                         ", ".join(_ORDERS), found, self._order)
        self._puzzle = found


class Orders:
    """What was last said of each camera of this device by message. Any thread may tell and ask."""

    def __init__(self, cameras: Collection[str]) -> None:
        """Start with no orders for cameras of these names."""
        self._orders: dict[str, Order] = dict.fromkeys(cameras, "auto")
        self._said: set[str] = set()

    def tell(self, camera: str, text: bytes) -> None:
        """Take an order; an empty one, as of a message that was cleared, is ``auto``.

        What is none is said once, and the last order stays.
        """
        order = _order(text) if text else "auto"
        if camera in self._orders and order is not None:
            self._orders[camera] = order
            return
        key = camera if camera in self._orders else ""
        if key not in self._said:   # one line a camera, whatever is sent
            self._said.add(key)
            _log.warning("camera %a: expected one of %s for one of this device's cameras by message, found %r; nothing "
                         "changes until that is corrected", camera[:64], ", ".join(_ORDERS), text[:_LONGEST])

    def of(self, camera: str) -> Order:
        """What is ordered of a camera."""
        return self._orders.get(camera, "auto")


class Ordered:
    """What one camera is ordered to be, by whom ever is believed first."""

    def __init__(self, camera: str, settings: SpectrumSettings, orders: Orders | None = None) -> None:
        """Ask a file, if the settings name one, then messages, if there are any."""
        self._camera = camera
        self._sources: list[tuple[str, Callable[[], Order]]] = []
        if settings.modality_file is not None:
            self._sources.append((str(settings.modality_file), OrderFile(settings.modality_file)))
        if orders is not None:
            self._sources.append(("a message", lambda: orders.of(camera)))
        self._last: Order = "auto"

    def __call__(self) -> Order:
        """The first order that isn't ``auto``."""
        order: Order = "auto"
        who = ""
        for name, ask in self._sources:
            if (order := ask()) != "auto":
                who = name
                break
        if order != self._last:
            self._last = order
            if order == "auto":
                _log.info("camera %s: nobody orders its modality any more; its pictures decide", self._camera)
            else:
                _log.info("camera %s: %s from now on, as %s says", self._camera, order, who)
        return order


def _order(text: bytes) -> Order | None:
    return _ORDERS.get(text.strip().decode("ascii", "replace")) if len(text) <= _LONGEST else None
