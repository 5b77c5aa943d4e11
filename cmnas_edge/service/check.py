"""``cmnas-edge check-config``: check a settings file of either room as its daemon would, and start nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from cmnas_edge import config
from cmnas_edge.errors import ConfigError

__all__ = ["add_arguments", "room_of", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="settings of a device or of a collector")


def run(args: argparse.Namespace) -> int:
    """Hand the file to its room's own check.

    Raises:
        CmnasError: As that room; a wrong key is named with file, line and the nearest right one.
    """
    parser = argparse.ArgumentParser()
    if room_of(args.config) == "collector":
        from cmnas_edge.collector import commands as room  # noqa: PLC0415 - needs its own extra
    else:
        from cmnas_edge.camera import commands as room  # type: ignore[no-redef]  # noqa: PLC0415
    room.add_arguments(parser)
    return room.run(parser.parse_args([str(args.config), "--check"]))


def room_of(path: Path) -> str:
    """Say whose settings these are: ``camera`` or ``collector``, by the keys that only one of them has.

    Raises:
        ConfigError: They are neither's.
    """
    from cmnas_edge.camera.settings import DeviceSettings  # noqa: PLC0415
    from cmnas_edge.collector.settings import CollectorSettings  # noqa: PLC0415

    keys = config.keys(path)
    if keys is None:
        return "camera"     # whose reading says what is wrong
    device, collector = ({field.name for field in msgspec.structs.fields(kind)}
                         for kind in (DeviceSettings, CollectorSettings))
    own = {"camera": len(keys & (device - collector)), "collector": len(keys & (collector - device))}
    if own["camera"] == own["collector"]:
        raise ConfigError(f"{path}: expected settings of a device (device, collector, cameras) or of a collector "
                          f"(data, listen), found {', '.join(sorted(keys)) or 'nothing'}; write one of them")
    return max(own, key=own.__getitem__)
