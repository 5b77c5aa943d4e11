"""Writes the journal that this release's collector keeps, for every later release to open.

Run once per release, never again for an old one::

    python -m tests.contract.make_journal tests/contract/0.1.0
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.journal import Arrival, Journal
from tests.contract.make_batch import gaps, sightings

RECEIVED_AT = 1_790_000_020.5
LINKS = [
    Link(1, 1, 1, "opened"),
    Link(2, 2, 1, "joined", 0.75, 0.625, "visible-infrared", 1),
    Link(3, 3, 2, "opened", 0.25, 0.6875, "visible-visible", 1),
]


def write(folder: Path) -> Path:
    """Keep one batch and its links in a journal in this folder, and return the file."""
    journal = Journal(folder)
    journal.append([Arrival("gate", [*sightings(), *gaps()], RECEIVED_AT)], LINKS)
    journal.close()
    return folder / "journal.sqlite"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        (Path(sys.argv[1]) / "journal.sqlite").write_bytes(write(Path(scratch)).read_bytes())
