"""A systemd unit for either room: what restarts it, and a second fence around what it may reach.

The daemons keep their promises by themselves; the unit has the kernel keep some of them too: no
address but the collector's and the cameras', no device but those the settings name, no file to
write but the spool. Knows the rooms by their settings only.
"""

from pathlib import Path

from cmnas_edge.service.unit import Unit

__all__ = ["unit_of"]


def unit_of(config: Path, room: str, name: str | None = None) -> Unit:
    """Write the unit of a room; the other one is not even imported.

    Args:
        config: The settings file.
        room: ``camera`` or ``collector``.
        name: Of the unit; None: the room's usual one.

    Raises:
        ConfigError: The settings cannot be used, or not by a service.
    """
    if room == "collector":
        from cmnas_edge.service import collector  # noqa: PLC0415

        return collector.unit(config, name)
    from cmnas_edge.service import camera  # noqa: PLC0415

    return camera.unit(config, name)
