"""The commands of people, devices and the audit log: what they change holds at once, and is noted."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

import httpx
import pytest

from cmnas_edge import cli
from cmnas_edge.collector.access.audit_log import AuditLog
from cmnas_edge.collector.access.database import Database
from cmnas_edge.collector.access.passwords import Passwords
from cmnas_edge.collector.access.people import People
from cmnas_edge.collector.receiving.devices import Devices
from cmnas_edge.collector.store.erasures import Selection
from cmnas_edge.collector.store.journal import Arrival, Journal
from cmnas_edge.collector.store.upkeep import Upkeep
from cmnas_edge.errors import ConfigError
from tests.collector.people import People as Drawn
from tests.collector.process import Process

PASSWORD = "correct horse & battery=staple"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is not what guesses."""
    monkeypatch.setattr(Passwords.__init__, "__kwdefaults__", {"memory_kib": 64, "passes": 1})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "collector.toml"
    path.write_text('data = "data"\n')
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


def run(capsys: pytest.CaptureFixture[str], config: Path, *words: str | Path) -> tuple[int, str, str]:
    code = cli.main(["collector", *map(str, words), "--config", str(config)])
    said = capsys.readouterr()
    return code, said.out, said.err


def kept(config: Path) -> list[tuple[str, str, bool]]:
    database = Database(config.parent / "data")
    try:
        return [(one.name, one.role, one.has_password) for one in People(database).known()]
    finally:
        database.close()


def erase(data: Path, count: int) -> None:
    journal = Journal(data)
    for number in range(count):
        journal.append([Arrival("gate", [Drawn().sighting(1, at=number)], 1.0)])
        upkeep = Upkeep(journal, retention_h=24, clock=lambda: 50.0)
        upkeep.begin(Selection(device="gate"), "grace", f"letter {number}")
        upkeep.finish()
        upkeep.close()
    journal.close()


def hashed(config: Path, name: str) -> str:
    database = Database(config.parent / "data")
    try:
        found = People(database).find(name)
        assert found is not None
        return found[1]
    finally:
        database.close()


def test_people_are_enrolled_listed_changed_and_removed_and_each_change_is_noted(
        config: Path, secret: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, config, "person", "add", "anna", "--role", "operator", "--password-file", secret) == (0, "", "")
    assert run(capsys, config, "person", "add", "demo", "--role", "viewer", "--no-password") == (0, "", "")
    assert run(capsys, config, "person", "list")[1] == "anna\toperator\tpassword\ndemo\tviewer\tno password\n"
    assert run(capsys, config, "person", "role", "Anna", "--role", "admin", "--reason", "promoted")[0] == 0
    assert run(capsys, config, "person", "password", "demo", "--password-file", secret)[0] == 0
    assert kept(config) == [("anna", "admin", True), ("demo", "viewer", True)]
    assert run(capsys, config, "person", "remove", "demo")[0] == 0
    assert kept(config) == [("anna", "admin", True)]
    noted = AuditLog(config.parent / "data").page()[::-1]
    assert [(e.kind, e.asked["do"], e.asked["name"], e.reason) for e in noted] == [
        ("people", "add", "anna", ""), ("people", "add", "demo", ""), ("people", "role", "Anna", "promoted"),
        ("people", "password", "demo", ""), ("people", "remove", "demo", "")]
    assert {e.who for e in noted} != {""}
    assert PASSWORD not in (config.parent / "data" / "audit.log").read_text()
    assert stat.S_IMODE((config.parent / "data" / "access.sqlite").stat().st_mode) == 0o600
    assert hashed(config, "anna").startswith("$argon2id$")


@pytest.mark.parametrize(("words", "says"), [
    (("add", "anna"), "expected --role"),
    (("add", "anna", "--role", "root"), "expected --role viewer, operator, admin or"),
    (("add", "anna", "--role", "Admin"), "found 'Admin'"),
    (("add", "a b", "--role", "viewer"), "name: expected 1 to 64"),
    (("add", "<b>", "--role", "viewer"), "name: expected"), (("add", "ANNA2", "--role", "viewer"), "enrolled already"),
    (("remove", "nobody"), "found nobody of this name"), (("role", "nobody", "--role", "viewer"), "found nobody"),
    (("link", "nobody"), "found nobody"), (("add",), "person: expected add, list"),
    (("list", "anna"), "person: expected"),
    (("become", "anna"), "person: expected"), ((), "person: expected")])
def test_a_command_that_cannot_be_done_is_one_sentence_and_changes_nothing(
        config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str) -> None:
    assert run(capsys, config, "person", "add", "anna2", "--role", "viewer", "--no-password")[0] == 0
    no_password = () if words[:1] in (("link",), ("remove",), ("role",), ("list",)) else ("--no-password",)
    code, out, said = run(capsys, config, "person", *words, *no_password)
    wrong = says.startswith(("expected --role", "found 'Admin'", "person: expected"))
    assert (code, out, said.count("\n")) == (2 if wrong else 78, "", 1)
    assert says in said
    assert kept(config) == [("anna2", "viewer", False)]
    assert len(AuditLog(config.parent / "data").page()) == 1


def test_a_role_there_is_none_of_is_said_before_a_password_is_asked_for(
        config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(_: str) -> str:
        raise AssertionError("was asked")

    monkeypatch.setattr("getpass.getpass", asked)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    code, _, said = run(capsys, config, "person", "add", "anna", "--role", "boss")
    assert (code, "expected --role viewer, operator, admin or privacy, found 'boss'" in said) == (2, True)


@pytest.mark.parametrize(("listen", "elsewhere"), [("127.0.0.1:8700", False), ("0.0.0.0:8700", True)])
def test_a_link_of_a_collector_that_listens_everywhere_says_that_its_address_is_this_machines(
        config: Path, capsys: pytest.CaptureFixture[str], listen: str, elsewhere: bool) -> None:
    config.write_text(f'data = "data"\nlisten = "{listen}"\nallow_plain_http_off_loopback = true\n')
    run(capsys, config, "person", "add", "anna", "--role", "viewer", "--no-password")
    code, out, said = run(capsys, config, "person", "link", "anna")
    assert (code, out.startswith("http://127.0.0.1:8700/log-in/")) == (0, True)
    assert ("on another machine, write the collector's name in place of 127.0.0.1" in said) == elsewhere


def test_a_password_comes_from_a_private_file_or_the_terminal_and_never_from_the_command_line(
        config: Path, secret: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    add = ("person", "add", "anna", "--role", "viewer")
    secret.chmod(0o644)
    assert "mode 0600" in run(capsys, config, *add, "--password-file", secret)[2]
    secret.chmod(0o600)
    for short in ("", "short", "elevenchars"):
        secret.write_text(short)
        code, _, said = run(capsys, config, *add, "--password-file", secret)
        assert (code, "expected" in said, short and short in said) == (78, True, short and False)
    assert "expected a terminal to ask on" in run(capsys, config, *add)[2]
    assert kept(config) == []

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    answers = iter([PASSWORD, "something else", PASSWORD, PASSWORD])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    assert "expected the same twice" in run(capsys, config, *add)[2]
    assert kept(config) == []
    assert run(capsys, config, *add)[0] == 0
    assert kept(config) == [("anna", "viewer", True)]
    with pytest.raises(SystemExit):
        run(capsys, config, *add, "--password", PASSWORD)


def test_a_file_of_people_that_others_may_read_or_that_is_none_is_one_sentence(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, config, "person", "add", "anna", "--role", "viewer", "--no-password")
    path = config.parent / "data" / "access.sqlite"
    path.chmod(0o640)
    code, _, said = run(capsys, config, "person", "list")
    assert (code, "expected mode 0600, found 0640" in said, said.count("\n")) == (78, True, 1)
    path.chmod(0o600)
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    path.write_bytes(b"something else" * 100)
    code, _, said = run(capsys, config, "person", "list")
    assert (code, "nobody is let in" in said, said.count("\n")) == (78, True, 1)


def test_the_audit_log_is_printed_and_verified_and_a_change_ends_with_its_own_code(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, config, "audit-log")[0] == 78
    for name in ("anna", "bo"):
        run(capsys, config, "person", "add", name, "--role", "viewer", "--no-password")
    code, out, _ = run(capsys, config, "audit-log")
    assert (code, out.count("\n"), '"name":"bo"' in out) == (0, 2, True)
    code, out, _ = run(capsys, config, "audit-log", "--verify")
    assert (code, out.startswith("2 entries, none changed or removed; the last is 2:")) == (0, True)
    noted = out.split()[-1]
    run(capsys, config, "person", "remove", "bo")
    assert run(capsys, config, "audit-log", "--verify", "--noted", noted)[0] == 0
    assert run(capsys, config, "audit-log", "--verify", "--noted", "2:xyz")[0] == 2
    code, out, said = run(capsys, config, "audit-log", "--noted", noted)
    assert (code, out, "expected --verify beside --noted" in said) == (2, "", True)
    code, _, said = run(capsys, config, "audit-log", "--verify", "--noted", "2:" + "0" * 64)
    assert (code, "expected the one that was noted" in said, said.count("\n")) == (65, True, 1)
    erase(config.parent / "data", 2)
    out = run(capsys, config, "audit-log", "--verify")[1]
    assert "# 2 receipts of erasures, none changed or left out\n" in out
    receipts = config.parent / "data" / "keys" / "receipts.jsonl"
    receipts.write_bytes(receipts.read_bytes().replace(b"letter 0", b"letter 7"))
    code, out, said = run(capsys, config, "audit-log", "--verify")
    assert (code, out, "expected receipt 2 to follow" in said, said.count("\n")) == (65, "", True, 1)
    path = config.parent / "data" / "audit.log"
    path.write_text(path.read_text().replace('"name":"anna"', '"name":"mary"'))
    code, _, said = run(capsys, config, "audit-log", "--verify")
    assert (code, "entry 2" in said, said.count("\n")) == (65, True, 1)


def test_what_cannot_be_noted_in_the_audit_log_is_not_done(
        config: Path, secret: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, config, "person", "add", "anna", "--role", "viewer", "--no-password")[0] == 0
    assert run(capsys, config, "enrol", "gate", "--out", config.parent / "gate.token")[0] == 0
    devices = (config.parent / "data" / "devices.json").read_text()
    for file in (config.parent / "data").glob("audit.*"):
        file.unlink()
    (config.parent / "data" / "audit.log").mkdir()      # nobody writes there, root neither
    for words in (("person", "add", "mallory", "--role", "admin", "--no-password"), ("person", "remove", "anna"),
                  ("person", "role", "anna", "--role", "admin"), ("enrol", "yard"), ("revoke", "gate"),
                  ("person", "password", "anna", "--password-file", secret), ("enrol", "gate", "--rotate"),
                  ("enrol", "yard", "--out", config.parent / "yard.token")):
        code, out, said = run(capsys, config, *words)
        assert (code, out, said.count("\n")) == (78, "", 1), words
        assert "audit.log" in said
    assert kept(config) == [("anna", "viewer", False)]
    assert (config.parent / "data" / "devices.json").read_text() == devices
    assert not (config.parent / "yard.token").exists()


def test_a_revoked_device_is_unknown_at_once_and_others_are_not(tmp_path: Path) -> None:
    running = Devices(tmp_path)
    tokens = {name: Devices(tmp_path).enrol(name) for name in ("gate", "yard")}
    assert running.recognise(tokens["gate"]) == "gate"
    Devices(tmp_path).revoke("gate")
    assert running.recognise(tokens["gate"]) is None
    assert running.recognise(tokens["yard"]) == "yard"
    for name in ("gate", "Yard", ""):
        with pytest.raises(ConfigError, match="nothing was changed"):
            Devices(tmp_path).revoke(name)
    fresh = Devices(tmp_path).enrol("gate")
    assert fresh != tokens["gate"]
    assert running.recognise(tokens["gate"]) is None


def test_what_commands_change_holds_for_a_running_collector(collector: Process, secret: Path) -> None:
    def command(*words: str) -> str:
        done = collector.command(*words, "--config", str(collector.config))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    token = collector.enrol()
    collector.start()
    assert httpx.get(f"{collector.url}/v1/health").status_code == 200
    with httpx.Client(base_url=collector.url) as anna:
        command("person", "add", "anna", "--role", "operator", "--password-file", str(secret))
        assert anna.get("/v1/health").status_code == 401
        assert anna.post("/log-in", data={"name": "anna", "password": PASSWORD}).status_code == 303
        assert anna.get("/v1/session").json()["role"] == "operator"
        command("person", "role", "anna", "--role", "viewer")
        assert anna.get("/v1/session").status_code == 401
        where = command("person", "link", "anna")
        assert anna.get(where[where.index("/log-in/"):]).status_code == 303
        assert anna.get("/v1/session").json()["role"] == "viewer"
        command("person", "password", "anna", "--no-password")
        assert anna.get("/v1/session").status_code == 401
    (outcome,) = collector.send(token, [Drawn().sighting(1, at=10)])
    assert outcome.result == "stored"
    command("revoke", "gate")
    refused = httpx.post(f"{collector.url}/v1/sightings", content=b"", headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 401
    command("person", "remove", "anna")
    assert httpx.get(f"{collector.url}/v1/health").status_code == 200, "nobody is enrolled any more"
    assert AuditLog(collector.folder / "data").check().faults == []
    assert collector.stop() == 0
    assert "anna" not in collector.said
    assert PASSWORD not in collector.said
    assert "Traceback" not in collector.said
    assert "audit log: the last entry is 1:" in collector.said, "the enrolment"
    assert os.getenv("SUDO_USER", "") or AuditLog(collector.folder / "data").page()[-1].who


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_what_root_makes_in_the_folder_of_a_service_belongs_to_the_service(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit with DynamicUser has its data folder to itself, and commands are given by root."""
    folder = config.parent / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, 61234, 61234)
    assert run(capsys, config, "person", "add", "anna", "--role", "viewer", "--no-password")[0] == 0
    Devices(folder).enrol("gate")
    Devices(folder).revoke("gate")
    names = {path.name: path.stat().st_uid for path in folder.iterdir()}
    assert {"access.sqlite", "audit.log", "audit.head", "audit.lock", "devices.json", "devices.lock"} <= names.keys()
    assert set(names.values()) == {61234}
    database = Database(folder)
    try:
        People(database).add("bo", "viewer", "")
        assert {path.stat().st_uid for path in folder.iterdir()} == {61234}, "SQLite's own files, too"
    finally:
        database.close()
