"""What is let go of late, for a clock is wrong or a server away, is told of; and nothing comes back by settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmnas_edge.collector.gallery import rebuild
from cmnas_edge.collector.intake import Intake
from cmnas_edge.collector.settings import CollectorSettings
from cmnas_edge.collector.store.backup import back_up
from cmnas_edge.collector.store.elsewhere import told_later
from cmnas_edge.collector.store.erasures import Erasures, Selection
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.collector.store.keys import DAY_S
from cmnas_edge.collector.store.restoring import restore
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.wire import encode_batch
from tests.collector.house import House
from tests.collector.people import Model, People

HOUR = 3600.0


class Clock:
    """A collector's clock, which somebody sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def stored(journal: Journal, at: float, count: int = 2) -> None:
    people = People(int(at))
    journal.append([Arrival("gate", [people.sighting(n, at=at - 5, sequence=int(at) + n) for n in range(count)], at)])


def test_sightings_of_a_time_to_come_are_told_of_and_none_goes_before_its_time(tmp_path: Path) -> None:
    journal, clock = Journal(tmp_path / "data"), Clock(100 * DAY_S)
    upkeep = Upkeep(journal, retention_h=72, clock=clock)
    stored(journal, clock.now)
    while upkeep.step(clock.now):
        pass
    assert upkeep.view.trouble == ""
    clock.now = 103.5 * DAY_S       # it runs ahead
    upkeep.step(clock.now)
    stored(journal, clock.now)
    assert journal.count() == 2
    clock.now = 100.1 * DAY_S       # and is set right
    upkeep.step(clock.now)
    assert "the newest sighting was received on 1970-04-14, and today is 1970-04-11" in upkeep.view.trouble
    assert journal.count() == 2
    clock.now = 106.6 * DAY_S
    upkeep.step(clock.now)
    assert (upkeep.view.trouble, journal.count()) == ("", 0)
    journal.close()


def test_a_clock_that_is_set_back_holds_nothing_up(tmp_path: Path) -> None:
    journal, clock, turns = Journal(tmp_path / "data"), Clock(100 * DAY_S), []
    gallery, _ = rebuild(journal, Model(), since=0, limit=100)
    intake = Intake(journal, gallery, hot_window_s=HOUR, hot_limit=100, clock=clock, on_turn=lambda: turns.append(1))
    intake.start()
    clock.now -= 30 * DAY_S
    for _ in range(2):
        intake.ask(lambda: None).result(30)     # its thread looks round after each
    intake.stop()
    assert turns        # what systemd's watchdog is fed by
    journal.close()


def test_a_receipt_says_who_else_held_copies_and_drops_them_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "data")
    stored(journal, 100 * DAY_S)
    away = tmp_path / "away"
    away.write_text("no folder: as a share that is not mounted")
    elsewhere = CollectorSettings(data=tmp_path, index="https://milvus.example:19530")
    upkeep = Upkeep(journal, retention_h=72, keys_copy=away / "keys", clock=lambda: 100 * DAY_S,
                    elsewhere=lambda: told_later(elsewhere))
    upkeep.step(100 * DAY_S)
    upkeep.close()      # it has tried
    upkeep.begin(Selection(device="gate"), "grace", "asked")
    (receipt,) = upkeep.finish()
    upkeep.close()
    index, copy = receipt.later
    assert "deleted on https://milvus.example:19530 as soon as that answers" in index
    assert "keys_copy:" in copy
    assert "cannot be kept up" in copy
    assert Erasures(journal.keys.folder).receipts() == [receipt]
    journal.close()
    assert told_later(CollectorSettings(data=tmp_path)) == ""


@pytest.mark.parametrize("asked_h", [1.0, 23.0])
def test_what_was_erased_does_not_come_back_when_retention_is_raised_before_a_restore(tmp_path: Path, asked_h: float
                                                                                       ) -> None:
    data, clock = tmp_path / "data", Clock(100 * DAY_S + asked_h * HOUR)
    journal = Journal(data)
    stored(journal, clock.now)
    back_up(data, tmp_path / "backup", data / "keys", clock=clock)
    upkeep = Upkeep(journal, retention_h=24, clock=clock)
    upkeep.begin(Selection(device="gate"), "grace", "asked")
    upkeep.finish()
    for hours in range(50):
        clock.now = 100 * DAY_S + (asked_h + hours) * HOUR
        while upkeep.step(clock.now):
            pass
        new = tmp_path / f"new {hours}"
        journal.close()
        assert restore(tmp_path / "backup", new, data / "keys", retention_h=1000, clock=clock).kept == 0
        journal = Journal(data)
        upkeep = Upkeep(journal, retention_h=24, clock=clock)
    assert Erasures(journal.keys.folder).entries == []      # not for ever
    journal.close()


def test_keys_that_vanish_while_they_are_in_use_are_told_of(tmp_path: Path) -> None:
    journal, clock = Journal(tmp_path / "data"), Clock(100 * DAY_S)
    upkeep = Upkeep(journal, retention_h=72, clock=clock)
    stored(journal, clock.now)
    (tmp_path / "data" / "keys").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "keys").mkdir()
    clock.now += 61
    upkeep.step(clock.now)
    assert "expected the keys of 1970-04-11, found none" in upkeep.view.trouble
    (tmp_path / "data" / "keys").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "data" / "keys")
    clock.now += 61
    upkeep.step(clock.now)
    assert upkeep.view.trouble == ""
    journal.close()


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal"])
@pytest.mark.parametrize("put_back", [False, True])
def test_nothing_is_acknowledged_into_a_file_that_was_moved_away(tmp_path: Path, name: str, put_back: bool) -> None:
    house = House(tmp_path / "data", now=100 * DAY_S)
    people = People()
    body = encode_batch([people.sighting(1, at=100 * DAY_S - 5)])
    house.send(people.sighting(2, at=100 * DAY_S - 5, sequence=77))
    (tmp_path / "data" / name).rename(tmp_path / "away")
    assert house.post(body).status_code == 503
    if put_back:
        (tmp_path / "away").rename(tmp_path / "data" / name)
    assert house.post(body).status_code == 503      # until it is started again: it may have missed some
    assert f"{name}: expected the file that is in use, found it moved or deleted" in house.intake.full
    house.close()
    if put_back:
        again = House(tmp_path / "data", now=100 * DAY_S)
        assert again.post(body).status_code == 200
        assert again.journal.count() == 2
        again.close()
