"""What root does in a collector's folder touches nothing that its user had a link lead to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.store.journal import Journal
from cmnas_edge.collector.store.keys import Keys
from cmnas_edge.errors import CmnasError

WORDS = "root:x:0:0:root:/root:/bin/bash\n" * 8


def journal(data: Path) -> None:
    Journal(data).close()


def audit(data: Path) -> None:
    AuditLog(data).add("people", who="root", asked={"do": "add"})


def people(data: Path) -> None:
    with closing(Database(data)):
        pass


def enrol(data: Path) -> None:
    Devices(data).enrol("gate")


@pytest.mark.parametrize(("name", "does"), [
    ("journal.lock", journal), ("journal.sqlite", journal), ("keys/keys.lock", journal), ("audit.log", audit),
    ("audit.head", audit), ("audit.lock", audit), ("access.sqlite", people), ("devices.lock", enrol)])
def test_a_link_is_refused_and_what_it_leads_to_stays_as_it_is(tmp_path: Path, name: str, does: Callable[[Path], None]
                                                               ) -> None:
    target = tmp_path / "passwd"
    target.write_text(WORDS)
    target.chmod(0o644)
    (tmp_path / "data" / "keys").mkdir(parents=True)
    (tmp_path / "data" / name).symlink_to(target)
    with pytest.raises(CmnasError) as caught:
        does(tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert target.read_text() == WORDS
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_key_that_is_dropped_is_overwritten_and_what_a_link_leads_to_is_not(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    for day in (3, 4):
        keys.seal(day, b"x" * 64, b"")
    target, link = tmp_path / "passwd", tmp_path / "keys" / "day-1970-01-04.key"
    target.write_text(WORDS)
    link.unlink()
    link.symlink_to(target)
    kept = tmp_path / "kept"
    kept.hardlink_to(tmp_path / "keys" / "day-1970-01-05.key")
    before = kept.read_bytes()
    for day in (3, 4):
        keys.drop(day)
    assert target.read_text() == WORDS
    assert not link.is_symlink()
    assert len(kept.read_bytes()) == len(before)
    assert kept.read_bytes() != before
