"""Backing up, restoring and erasing, as an operator and a privacy officer do it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from msgspec import structs

from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.collector.store.keys import Keys
from cmnas_edge.errors import ConfigError
from cmnas_edge.service import files
from cmnas_edge.service.collector import unit
from tests.collector.house import House
from tests.collector.people import DIMENSION, FINGERPRINT, People
from tests.collector.process import Process
from tests.collector.test_commands import config, run, write

__all__ = ["config"]
_FIXTURES = (config,)


def test_a_collector_is_backed_up_while_it_runs_erased_from_and_begun_again(
        collector: Process, capsys: pytest.CaptureFixture[str]) -> None:
    folder, people, now, config = collector.folder, People(), time.time(), collector.config
    config.write_text(config.read_text("utf-8").replace("trust", 'keys_copy = "copy"\ntrust'), "utf-8")
    token = Devices(folder / "data").enrol("gate")
    collector.start()
    assert "made the key that wraps all keys of vectors; keep a copy of it" in collector.said
    collector.send(token, [people.sighting(n, at=now - 500 + 30 * n) for n in range(6)])
    code, out, said = run(capsys, "backup", folder / "backup", "--config", config)
    assert (code, out[:13]) == (0, "6 sightings, ")
    assert "keys_copy is not set" not in said
    code, out, said = run(capsys, "erase", "--device", "gate", "--reason", "x", "--config", config)
    assert (code, out) == (78, "")
    assert "the collector runs; ask it, as somebody of the role privacy, by POST /v1/erasures" in said
    assert collector.stop() == 0
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now - 500 + 30 * 3 - 1))
    code, out, said = run(capsys, "erase", "--identity", "99", "--reason", "letter", "--config", config)
    assert (code, json.loads(out)["sightings"]) == (0, 0)
    assert "erase: nothing that is stored fits" in said
    code, out, said = run(capsys, "erase", "--device", "gate", "--from", at, "--reason", "letter", "--config", config)
    assert "nothing" not in said
    receipt = json.loads(out)
    assert (receipt["sightings"], receipt["reason"], receipt["log_emptied"]) == (3, "letter", True)
    # The machine is lost; what is left is the backup, the copy of the keys, and the master key's.
    master = (folder / "data" / "keys" / "master.key").read_bytes()
    shutil.rmtree(folder / "data")
    (folder / "data" / "keys").mkdir(parents=True)
    (folder / "data" / "keys" / "master.key").write_bytes(master)
    (folder / "data" / "keys" / "master.key").chmod(0o600)
    code, out, _ = run(capsys, "restore", folder / "backup", "--config", config)
    assert (code, out[:27]) == (0, "3 of 6 sightings as of " + time.strftime("%Y"))
    assert "; 3 were erased or ended since, 0 are past retention" in out
    collector.start()
    assert "3 sightings of the last 24 h, 3 identities read" in collector.said
    assert [o.result for o in collector.send(token, [people.sighting(9, at=now)])] == ["stored"]
    assert collector.stop() == 0


def test_a_privacy_officer_erases_by_the_api_and_has_a_receipt_and_nobody_else_does(house: House) -> None:
    people = People()
    house.send(*[people.sighting(n, at=1000 + 30 * n) for n in range(4)])
    house.settle()
    asked = {"identity": 2, "reason": "a letter"}
    for role in ("viewer", "operator", "admin"):
        assert house.ask("POST", "/v1/erasures", json=asked, headers=house.cookie(role)).status_code == 403
    officer = house.cookie("privacy")
    done = house.ask("POST", "/v1/erasures", json=asked, headers=officer)
    assert done.status_code == 200
    assert (done.json()["sightings"], done.json()["person"]) == (1, "some-privacy")
    assert [s["id"] for s in house.ask("GET", "/v1/sightings", headers=officer).json()["sightings"]] == [1, 3, 4]
    assert house.ask("GET", "/v1/identities/2", headers=officer).status_code == 404
    receipts = house.ask("GET", "/v1/erasures", headers=officer).json()["receipts"]
    assert receipts == [done.json()]
    health = house.ask("GET", "/v1/health", headers=officer).json()
    assert (health["stored_count"], health["retention"]["oldest_received_at"]) == (3, 2000.0)
    noted = (house.folder / "audit.log").read_text()
    assert '"erasure"' in noted
    assert "a letter" in noted
    for wrong in ({}, {"camera": "north"}, {"seen_from": 2, "seen_to": 1}, {"identity": 0}, {"who": "x"}):
        refused = house.ask("POST", "/v1/erasures", json={**wrong, "reason": "x"}, headers=officer)
        assert refused.status_code == 400, wrong
    assert house.intake.stored_count == 3
    assert AuditLog(house.folder).check().faults == []
    assert Selection(identity=2).fault() == ""


def test_a_collector_says_at_its_start_what_it_holds_of_bundles_that_it_accepts_no_more(collector: Process) -> None:
    journal, now = Journal(collector.folder / "data"), time.time()
    for number, received_at in ((1, now - 25 * 3600), (2, now - 60), (3, now - 60)):
        each = structs.replace(People().sighting(1, at=received_at, sequence=number), fingerprint=bytes(32))
        journal.append([Arrival("gate", [each], received_at)])
    journal.close()
    collector.start()
    assert "2 stored sightings of the last 24 h were made by bundles that are accepted no more" in collector.said


def test_what_is_over_is_gone_before_anybody_can_look(collector: Process) -> None:
    journal, now = Journal(collector.folder / "data"), time.time()
    for hours in (100, 73, 71):
        each = People(hours).sighting(hours, at=now - 3600 * hours, sequence=hours)
        journal.append([Arrival("gate", [each], now - 3600 * hours)])
    journal.close()
    collector.start()
    assert "retention of 72 h: 2 stored sightings are older; they go before anything is shown" in collector.said
    assert "retention of 72 h: let go of 2 sightings" in collector.said
    assert collector.stop() == 0
    journal = Journal(collector.folder / "data")
    assert [row.sequence for row, _ in journal.sightings(FINGERPRINT, DIMENSION, since=0, most=9)] == [71]
    journal.close()


def test_a_master_key_made_beforehand_is_handed_to_a_service_and_never_replaced(
        config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_HIDDEN", ())       # this test's own folder is one
    path = config.parent / "vault.key"
    code, out, _ = run(capsys, "master-key", path)
    assert (code, out) == (0, f'# the collector\nmaster_key = "{path}"\n')
    before = path.read_bytes()
    assert run(capsys, "master-key", path)[0] == 78
    assert run(capsys, "master-key")[0] == 2
    assert path.read_bytes() == before
    Keys(config.parent / "keys", master=path).seal(1, b"x" * 64, b"")
    assert not (config.parent / "keys" / "master.key").exists()
    etc = config.parent / "etc.toml"
    etc.write_text('data = "/var/lib/cmnas-edge-collector"\nmaster_key = "/etc/cmnas-edge/vault.key"\n'
                   'keys_copy = "/srv/keys"\n', "utf-8")
    printed = str(unit(etc))
    assert "LoadCredential=vault.key:/etc/cmnas-edge/vault.key" in printed
    assert "ReadWritePaths=/srv/keys" in printed
    assert "keys_copy: /srv/keys must be a folder that the service's user may write to" in printed
    etc.write_text('data = "/var/lib/cmnas-edge-collector"\nkeys = "/srv/keys"\n', "utf-8")
    with pytest.raises(ConfigError, match="keys: expected it below /var/lib/cmnas-edge-collector"):
        unit(etc)


@pytest.mark.parametrize(("words", "code"), [
    ("backup", 2), ("restore", 2), ("backup a b", 2), ("erase x", 2), ("erase", 2), ("erase --camera north", 2),
    ("erase --from yesterday", 2), ("erase --device gate", 2), ("erase --device gate --reason x", 78),
    ("erase --identity 0 --reason x", 2), (f"erase --identity {2**63} --reason x", 2),
    ("erase --from 0001-01-01 --reason x", 2), ("restore nowhere", 78), ("backup somewhere", 78)])
def test_what_cannot_be_done_is_one_clear_sentence_and_makes_nothing(
        config: Path, capsys: pytest.CaptureFixture[str], words: str, code: int) -> None:
    ended, out, said = run(capsys, *words.split(), "--config", config)
    assert (ended, out, said.count("\n")) == (code, "", 1)
    assert not (config.parent / "data" / "journal.sqlite").exists()
    assert run(capsys, *words.split())[0] == 2


@pytest.mark.parametrize("line", ["retention_h = 5", "retention_h = nan", "retention_h = -1"])
def test_a_retention_shorter_than_what_is_shown_is_refused(
        config: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    code, _, said = run(capsys, write(config.parent, line), "--check")
    assert code == 78
    assert "retention_h: expected at least 24" in said


@pytest.mark.parametrize(("lines", "said"), [
    ('keys = "data"', "keys: expected a folder of its own, found that of data"),
    ('keys = "data/../data"', "keys: expected a folder of its own, found that of data"),
    ('keys_copy = "data"', "keys_copy: expected a folder of its own, found that of data"),
    ('keys_copy = "data/keys"', "keys_copy: expected a folder of its own, found that of the keys"),
    ('keys = "vault"\nkeys_copy = "vault"', "keys_copy: expected a folder of its own, found that of the keys"),
    ("hot_limit = 1000000000000000000000", "hot_limit: expected at most 1000000000"),
    ("journal_mib = 9223372036854775807", "journal_mib: expected at most 1000000000")])
def test_what_would_undo_a_protection_or_itself_is_refused_when_settings_are_read(
        config: Path, capsys: pytest.CaptureFixture[str], lines: str, said: str) -> None:
    code, _, told = run(capsys, write(config.parent, lines), "--check")
    assert code == 78
    assert said in told
