"""Settings read again while a daemon runs: what of them takes effect, and what needs a new start.

Live is what no running part was built around: patience, thresholds, the way to the collector.
The rest (which cameras, engine, bundle, keys, disk) stays as it was and is named, so that nobody
believes a change that did not happen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import fields, replace

from cmnas_edge.camera.settings import CameraSettings, DeviceSettings

__all__ = ["LIVE", "Change", "compare"]

LIVE = frozenset({
    "collector", "token", "also_until", "drain_s", "status_s", "log",
    "link.batch", "link.wait_s", "link.timeout_s", "link.backoff_s", "link.max_backoff_s",
    "link.certificate_authority", "link.site", "link.certificate", "link.certificate_key",
    "link.allow_plain_http_off_loopback",
    "cameras.spectrum.visible_above", "cameras.spectrum.infrared_below", "cameras.spectrum.dwell_s",
    "cameras.spectrum.settle_s", "cameras.spectrum.apart_s", "cameras.spectrum.dark_below",
    "cameras.select.min_height", "cameras.select.min_aspect", "cameras.select.max_aspect", "cameras.select.border",
    "cameras.select.max_overlap", "cameras.select.min_sharpness", "cameras.select.view_count",
    "cameras.select.view_gap_s", "cameras.select.period_s",
})


class Change(NamedTuple):
    """What a new reading of the settings brings.

    Attributes:
        settings: What is to be in effect: the old ones with what can change live.
        live: Names of what changes, as an operator writes them.
        kept: Names of what would need a new start.
    """

    settings: DeviceSettings
    live: Sequence[str]
    kept: Sequence[str]

    def __str__(self) -> str:
        """One sentence for the log."""
        if not self.live and not self.kept:
            return "nothing has changed"
        now = f"now in effect: {', '.join(self.live)}" if self.live else "nothing changes"
        later = f"; as before until a new start: {', '.join(self.kept)}" if self.kept else ""
        return f"{now}{later}"


def compare(old: DeviceSettings, new: DeviceSettings, able: Collection[str] = LIVE) -> Change:
    """Say what of new settings can take effect, and what they would be then.

    Args:
        old: Those in effect.
        new: Those wanted.
        able: Names of what can change just now.
    """
    live: list[str] = []
    kept: list[str] = []
    merged = _merged(old, new, "", "", live, kept, able)
    assert isinstance(merged, DeviceSettings)
    return Change(merged, live, kept)


def _merged(old: Struct, new: Struct, key: str, shown: str, live: list[str], kept: list[str],
            able: Collection[str]) -> Struct:
    taken: dict[str, Any] = {}
    for name, before, after in _pairs(old, new):
        if before == after:
            continue
        inner, told = f"{key}{name}", f"{shown}{name}"
        if inner == "cameras":
            taken[name] = _cameras(before, after, live, kept, able)
        elif isinstance(before, Struct) and type(before) is type(after):
            taken[name] = _merged(before, after, f"{inner}.", f"{told}.", live, kept, able)
        elif inner in able:
            taken[name] = after
            live.append(told)
        else:
            kept.append(told)
    return replace(old, **taken) if taken else old


def _cameras(old: tuple[CameraSettings, ...], new: tuple[CameraSettings, ...], live: list[str],
             kept: list[str], able: Collection[str]) -> tuple[CameraSettings, ...]:
    wanted = {camera.name: camera for camera in new}
    if wanted.keys() != {camera.name for camera in old}:
        kept.append("which cameras there are")
    merged = []
    for camera in old:
        found = _merged(camera, wanted.get(camera.name, camera), "cameras.", f"camera {camera.name!r} ", live, kept,
                        able)
        assert isinstance(found, CameraSettings)
        merged.append(found)
    return tuple(merged)


def _pairs(old: Struct, new: Struct) -> Iterator[tuple[str, Any, Any]]:
    for field in fields(old):
        yield field.name, getattr(old, field.name), getattr(new, field.name)
