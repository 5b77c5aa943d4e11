"""What the collectors of every release have stored is found by this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.collector.store.journal import Journal
from tests.contract.make_batch import gaps, sightings
from tests.contract.make_journal import LINKS, RECEIVED_AT

JOURNALS = sorted(Path(__file__).parent.glob("*/journal.sqlite"))


@pytest.mark.parametrize("path", JOURNALS, ids=[path.parent.name for path in JOURNALS])
def test_a_journal_of_an_earlier_release_is_read_as_it_was_written(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "journal.sqlite"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    journal = Journal(tmp_path)
    try:
        found = list(journal.sightings(bytes(range(32)), 64, since=0.0, most=100))
        assert len(found) == len(sightings())
        for (record, vector), meant in zip(found, sightings(), strict=True):
            assert record.received_at == RECEIVED_AT
            for name in ("device", "spool", "sequence", "camera", "seen_from", "seen_at", "modality", "tracklet",
                         "view_count", "quality", "box_width", "box_height", "engine", "precision", "transform"):
                assert getattr(record, name) == getattr(meant, name), name
            # A step of int8 is max|x| / 127; fp16 rounds finer.
            assert np.abs(vector - meant.vector).max() <= np.abs(meant.vector).max() / 254 + 1e-6
        assert list(journal.links(1)) == LINKS
        assert [(g.spool, g.first, g.last, g.count) for g in journal.gaps()] == [
            (g.spool, g.first, g.last, g.count) for g in gaps()]
    finally:
        journal.close()


def test_there_is_a_journal_to_read() -> None:
    assert JOURNALS
