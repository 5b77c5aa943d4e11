"""How often a long promise is tried: a few times in ``make test``, the stated number in ``make prove``."""

from __future__ import annotations

import os
from typing import Final

PROVING: Final = bool(os.environ.get("CMNAS_PROVE"))
KILLS: Final = 50 if PROVING else 3
