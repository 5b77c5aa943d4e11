"""How often a long promise is tried: a few times in ``make test``, the stated number in ``make prove``."""

from __future__ import annotations

import os
from typing import Final

PROVING: Final = bool(os.environ.get("CMNAS_PROVE"))
KILLS: Final = 50 if PROVING else 3


def examples(few: int, many: int = 5000) -> int:
    """How many examples a law is tried with: a few that are cheap enough for every day, or the stated number."""
    return many if PROVING else few
