"""How often a long promise is tried: a few times in ``make test``, the stated number in ``make prove``.

A proof may record properties (pytest's ``record_property``): ``kills`` and ``examples``, if it did another number
of them, and any figures that it saw. All of them stand in its row of ``docs/proofs.jsonl``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.records import commit

PROVING: Final = bool(os.environ.get("CMNAS_PROVE"))
KILLS: Final = 50 if PROVING else 3


def row(test: str, properties: Sequence[tuple[str, object]], outcome: str, seconds: float, examples: int | None
        ) -> dict[str, object]:
    """What is kept of a proof.

    Args:
        test: Its name.
        properties: What it recorded.
        outcome: As pytest says it.
        seconds: It took.
        examples: Of each law, that hypothesis was to try, unless the test recorded another number; None: there is none.
    """
    figures = dict(properties)
    return {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "command": "make prove", "test": test,
            "kills": figures.pop("kills", KILLS), "examples": figures.pop("examples", examples), "outcome": outcome,
            "seconds": round(seconds, 1), "cores": os.cpu_count(), **({"figures": figures} if figures else {})}


def examples(few: int, many: int = 5000) -> int:
    """How many examples a law is tried with: a few that are cheap enough for every day, or the stated number."""
    return many if PROVING else few
