"""A vector opens with the key of its day, beside its own record, and never again once the key is dropped."""

from __future__ import annotations

import errno
import re
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.collector.store.keys import ADDED_BYTES, DAY_S, Keys, Locked
from cmnas_edge.embedding import pack
from cmnas_edge.errors import ConfigError
from tests.collector.people import DIMENSION, FINGERPRINT, People

PLAIN = bytes(range(128))


def test_what_is_sealed_opens_beside_what_it_was_sealed_with_and_only_there(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    sealed = keys.seal(20_000, PLAIN, b"gate 7")
    assert len(sealed) == len(PLAIN) + ADDED_BYTES
    assert keys.seal(20_000, PLAIN, b"gate 7") != sealed    # a nonce of its own each time
    again = Keys(tmp_path / "keys")
    assert again.open(20_000, sealed, b"gate 7") == PLAIN
    again.seal(20_001, PLAIN, b"gate 7")
    for day, data, beside in ((20_000, sealed, b"gate 8"), (20_001, sealed, b"gate 7"),
                              (20_000, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"gate 7"), (20_000, b"", b"gate 7")):
        with pytest.raises(Locked, match="was changed"):
            again.open(day, data, beside)


def test_a_folder_that_cannot_be_read_for_a_moment_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                         ) -> None:
    keys = Keys(tmp_path / "keys")

    def nothing_left(_: Path, pattern: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files", pattern)

    monkeypatch.setattr(Path, "glob", nothing_left)
    with pytest.raises(ConfigError, match="found Too many open files"):
        keys.days()


def test_a_dropped_day_opens_no_more_and_no_key_stands_for_it_again(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    sealed = {day: keys.seal(day, PLAIN, b"") for day in (3, 4)}
    key_file = (tmp_path / "keys" / "day-1970-01-04.key").read_bytes()
    keys.drop(3)
    for now in (keys, Keys(tmp_path / "keys")):
        with pytest.raises(Locked, match="the key of 1970-01-04 is gone"):
            now.open(3, sealed[3], b"")
        assert now.open(4, sealed[4], b"") == PLAIN
        assert now.dropped() == {3}
        assert now.day_for(3.5 * DAY_S) == 4        # a clock that stepped back
        assert now.day_for(9.5 * DAY_S) == 9
    assert not any(key_file.strip() in path.read_bytes() for path in (tmp_path / "keys").iterdir())
    # Put back from some copy, it is dropped again before anything is opened.
    (tmp_path / "keys" / "day-1970-01-04.key").write_bytes(key_file)
    (tmp_path / "keys" / "day-1970-01-04.key").chmod(0o600)
    with pytest.raises(Locked):
        Keys(tmp_path / "keys").open(3, sealed[3], b"")


def test_keys_without_their_master_or_of_another_are_one_clear_sentence(tmp_path: Path) -> None:
    elsewhere = tmp_path / "vault" / "m.key"
    keys = Keys(tmp_path / "keys", master=elsewhere)
    assert keys.made_master
    sealed = keys.seal(1, PLAIN, b"")
    assert not (tmp_path / "keys" / "master.key").exists()
    assert not Keys(tmp_path / "keys", master=elsewhere).made_master
    with pytest.raises(ConfigError, match=r"expected the master key of the keys in .*, found none; put it back"):
        Keys(tmp_path / "keys")
    other = Keys(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"expected a key that .* wrapped, found another"):
        Keys(tmp_path / "keys", master=other.master_path).open(1, sealed, b"")
    elsewhere.chmod(0o644)
    with pytest.raises(ConfigError, match="expected mode 0600"):
        Keys(tmp_path / "keys", master=elsewhere)
    elsewhere.chmod(0o600)
    elsewhere.write_text("cmnas-site-key-1 00")
    with pytest.raises(ConfigError, match="expected a key that a collector made"):
        Keys(tmp_path / "keys", master=elsewhere)


def test_a_reader_beside_a_collector_makes_and_removes_nothing(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    keys.seal(1, PLAIN, b"")
    (tmp_path / "keys" / ".day-half").write_text("a write that goes on")
    (tmp_path / "keys" / ".snapshot").mkdir()
    before = sorted(path.name for path in (tmp_path / "keys").iterdir())
    reader = Keys(tmp_path / "keys", make=False)
    with pytest.raises(Locked, match="there is no key of 1970-01-03"):
        reader.seal(2, PLAIN, b"")
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == before
    with pytest.raises(ConfigError):
        Keys(tmp_path / "nowhere", make=False)
    assert not (tmp_path / "nowhere").exists()
    again = Keys(tmp_path / "keys")
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == before    # another may be writing there
    again.hold()
    assert not (tmp_path / "keys" / ".day-half").exists()
    again.release()


@settings(max_examples=20)
@given(st.lists(st.integers(0, 40), max_size=4), st.floats(0, 41 * DAY_S))
def test_no_day_to_seal_under_is_past_or_dropped(tmp_path_factory: pytest.TempPathFactory, gone: list[int],
                                                 at: float) -> None:
    keys = Keys(tmp_path_factory.mktemp("keys"))
    for day in gone:
        keys.drop(day)
    assert keys.day_for(at) not in keys.dropped()
    assert keys.day_for(at) >= at // DAY_S


def test_no_file_of_the_journal_holds_a_vector_and_a_moved_one_does_not_open(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    people = People()
    sent = [people.sighting(n, at=10 * n) for n in range(1, 4)]
    journal = Journal(tmp_path)
    journal.append([Arrival("gate", sent, 5.0), Arrival("gate", [people.sighting(9, at=900)], 5.0 + DAY_S)])
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for sighting in sent:
        assert pack(sighting.vector[None], "fp16")[0] not in files
        assert pack(sighting.vector[None], "fp16")[0][:16] not in files
    assert len(list(journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10))) == 4
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as thief:
        thief.execute("UPDATE sighting SET vector = (SELECT vector FROM sighting WHERE id = 1) WHERE id = 2")
    thief.close()
    journal = Journal(tmp_path)
    assert [record.id for record, _ in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=10)] == [1, 3, 4]
    assert re.search(r"sighting 2 cannot be read: it, or what it belongs to, was changed", caplog.text)
    journal.close()
