"""Nothing else is written into a bundle's folder: one file more, and nobody opens it again."""

from __future__ import annotations

import os
from pathlib import Path

from cmnas_edge.bundle.folder import MANIFEST, MANIFEST_DIGEST
from cmnas_edge.errors import ConfigError

__all__ = ["check_outside"]


def check_outside(folder: Path, option: str) -> None:
    """Refuse a folder that is a bundle, or lies in one.

    Args:
        folder: Where something shall be written; it may not be there yet.
        option: What names another, for the message.

    Raises:
        ConfigError: It is in a bundle.
    """
    resolved = Path(os.path.realpath(folder))
    for place in (resolved, *resolved.parents):
        try:
            inside = (place / MANIFEST).is_file() and (place / MANIFEST_DIGEST).is_file()
        except OSError:     # who may not look there cannot write there either, and is told so then
            inside = False
        if inside:
            raise ConfigError(f"{folder}: expected a place outside of any bundle, found it in {place}, which nobody "
                              f"could open with a file more; name another with {option}")
