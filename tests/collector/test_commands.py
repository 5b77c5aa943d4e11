"""The command line: it runs, checks, enrols, and says in one sentence what is wrong."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

import httpx
import pytest

from cmnas_edge import cli, sealing
from cmnas_edge.collector.receiving.devices import Devices
from tests.collector.people import People, write_bundle
from tests.collector.process import Process


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A settings file with a bundle beside it."""
    write_bundle(tmp_path / "bundle")
    return write(tmp_path, "")


def write(folder: Path, more: str) -> Path:
    path = folder / "collector.toml"
    path.write_text(f'data = "data"\nbundle = "bundle"\n{more}\n[trust]\nallow_unsigned_bundle = true\n', "utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = cli.main(["collector", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_token_is_printed_once_and_works(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, token, _ = run(capsys, "enrol", "gate", "--config", config)
    assert code == 0
    assert Devices(config.parent / "data").recognise(token.strip()) == "gate"
    code, out, said = run(capsys, "enrol", "gate", "--config", config)
    assert (code, out) == (78, "")
    assert "--rotate" in said
    code, fresh, _ = run(capsys, "enrol", "gate", "--config", config, "--rotate")
    assert code == 0
    assert fresh != token


def test_a_token_written_to_a_file_is_for_its_owner_only_and_not_printed(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = config.parent / "gate.token"
    assert run(capsys, "enrol", "gate", "--config", config, "--out", out) == (0, "", "")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert Devices(config.parent / "data").recognise(out.read_text().strip()) == "gate"


def test_a_token_that_cannot_be_written_changes_nothing(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    devices, out = Devices(config.parent / "data"), config.parent / "gate.token"
    old = devices.enrol("gate")
    for place in ("/nowhere/gate.token", out):
        out.write_text("something of mine")
        code, _, said = run(capsys, "enrol", "gate", "--config", config, "--out", place, "--rotate")
        assert (code, "nothing was changed" in said) == (78, True)
    assert out.read_text() == "something of mine"
    assert devices.recognise(old) == "gate"
    out.unlink()
    assert run(capsys, "enrol", "gate", "--config", config, "--out", out)[0] == 78     # enrolled, without --rotate
    assert not out.exists()
    assert run(capsys, "enrol", "gate", "--config", config, "--out", out, "--rotate")[0] == 0
    assert devices.recognise(old) is None
    assert devices.recognise(out.read_text().strip()) == "gate"


def test_a_seal_key_is_made_once_and_enrolling_gives_its_public_half(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = config.parent / "seal.pem"
    code, out, _ = run(capsys, "seal-key", key)
    assert (code, stat.S_IMODE(key.stat().st_mode)) == (0, 0o600)
    public = sealing.public_key(key)
    assert f'seal_to = "{public}"' in out
    assert "PRIVATE" not in out
    before = key.read_bytes()
    code, _, said = run(capsys, "seal-key", key)
    assert (code, said.count("\n"), key.read_bytes()) == (78, 1, before)
    assert run(capsys, "seal-key")[0] == 2
    with_key = write(config.parent, 'seal_keys = ["seal.pem"]')
    code, out, said = run(capsys, "enrol", "gate", "--config", with_key)
    assert (code, out.count("\n"), f'seal_to = "{public}"' in said) == (0, 1, True)
    assert run(capsys, with_key, "--check")[0] == 0
    key.chmod(0o644)
    for words in ((with_key, "--check"), (with_key,), ("enrol", "yard", "--config", with_key)):
        code, out, said = run(capsys, *words)
        assert (code, out, "mode 0600" in said) == (78, "", True)
    assert [device.name for device in Devices(config.parent / "data").known()] == ["gate"]


@pytest.mark.parametrize("authority", [False, True])
def test_check_finds_certificates_that_are_none(config: Path, capsys: pytest.CaptureFixture[str], authority: bool
                                                ) -> None:
    (config.parent / "key.pem").write_text("no key", "utf-8")
    (config.parent / "key.pem").chmod(0o600)
    lines = 'tls_certificate = "key.pem"\ntls_key = "key.pem"\n'
    config.write_text(lines + 'device_authority = "key.pem"\n' * authority + config.read_text("utf-8"), "utf-8")
    code, out, said = run(capsys, config, "--check")
    assert (code, out) == (78, "")
    assert "expected a PEM certificate and its key, found something else" in said


def test_check_prints_what_is_in_effect(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "enrol", "gate", "--config", config)
    code, out, _ = run(capsys, config, "--check")
    assert code == 0
    assert 'listen = "127.0.0.1:8700"' in out
    assert "calibrated on: drawn" in out
    assert "1 enrolled: gate" in out


@pytest.mark.parametrize(("more", "code", "says"), [
    ('listn = "127.0.0.1:1"', 78, "line 3: unknown key 'listn'; did you mean 'listen'?"),
    ('listen = "127.0.0.1"', 78, "expected a numeric address and a port"),
    ('listen = "127.0.0.1:99999"', 78, "expected a numeric address and a port"),
    ('listen = "0.0.0.0:8700"', 78, "allow_plain_http_off_loopback = true"),
    ('listen = "[::]:8700"', 78, "without TLS tokens and embeddings would travel readable"),
    ('tls_certificate = "a.pem"', 78, "expected both or neither"),
    ('tls_certificate = "a.pem"\ntls_key = "b.pem"', 78, "expected a file with a secret"),
    ("only_sealed = true", 78, "expected seal_keys to open vectors with"),
    ("hot_window_h = 0.0", 78, "hot_window_h: expected at least 0.01"),
    ("hot_window_h = nan", 78, "hot_window_h"),
    ("hot_limit = -1", 78, "hot_limit"),
    ("hot_limit = 1.5", 78, "hot_limit")])
def test_a_setting_that_cannot_work_is_one_sentence(
        config: Path, capsys: pytest.CaptureFixture[str], more: str, code: int, says: str) -> None:
    found, _, said = run(capsys, write(config.parent, more), "--check")
    assert found == code
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("more", "says"), [
    ('data = "file/data"', "file/data: expected a folder this user may write to, found Not a directory at {}/file; c"),
    ('data = "file"', "file: expected a folder this user may write to, found Not a directory at {}/file; correct data"),
    ('data = "data"\nkeys = "file/keys"', "correct keys or its mode"),
    ('data = "data"\nmaster_key = "file/master.key"', "master.key: expected a file this user may write to, found Not"),
    ('data = "shut/data"', "found Permission denied at {}/shut; correct data or its mode"),
    ('data = "shut"', "found Permission denied at {}/shut; correct data or its mode"),
    ('data = "data"\nkeys = "shut/keys"', "found Permission denied at {}/shut; correct keys or its mode")])
def test_folders_that_can_never_be_made_are_found_by_a_look_which_makes_nothing(
        config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: str, says: str
        ) -> None:
    folder, access, shut = config.parent, os.access, config.parent / "shut"
    (folder / "file").write_text("")
    shut.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: not (  # root may write anywhere
        Path(path) == shut and mode & os.W_OK) and access(path, mode))
    config.write_text(config.read_text("utf-8").replace('data = "data"', more), "utf-8")
    before = sorted(folder.rglob("*"))
    code, _, said = run(capsys, config, "--check")
    assert (code, said.count("\n")) == (78, 1)
    assert says.format(folder) in said
    assert sorted(folder.rglob("*")) == before


def test_a_look_before_the_first_start_makes_nothing_and_is_content(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(config.parent.rglob("*"))
    assert run(capsys, config, "--check")[0] == 0
    assert sorted(config.parent.rglob("*")) == before


def test_a_lost_folder_of_keys_is_found_by_a_look_and_by_a_start_and_nothing_is_made(collector: Process) -> None:
    token = collector.enrol()
    collector.start()
    collector.send(token, [People().sighting(1, at=1.0)])
    assert collector.stop() == 0
    keys = collector.folder / "data" / "keys"
    keys.rename(collector.folder / "away")
    for words in ([str(collector.config), "--check"], [str(collector.config)]):
        done = collector.command(*words)
        assert done.returncode == 78
        assert re.search(r"journal.sqlite: expected the keys of \d{4}-\d\d-\d\d, found none in .*/keys; put them back",
                         done.stderr)
        assert not keys.exists()
    (collector.folder / "away").rename(keys)
    assert collector.command(str(collector.config), "--check").returncode == 0


def test_a_devices_settings_are_no_collectors_and_one_sentence_says_so(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gate.toml"
    path.write_text('device = "gate"\ncollector = "http://127.0.0.1:8700"\ntoken = "t"\n[[cameras]]\nname = "gate"\n'
                    'source = { location = "x.mp4" }\n')
    code, _, said = run(capsys, path, "--check")
    assert (code, said.count("\n")) == (78, 1)
    assert "gate.toml: expected a collector's settings (data), found those of a device" in said


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0", "0.0.0.0:0"])
def test_plain_http_beyond_this_machine_needs_the_words(
        config: Path, capsys: pytest.CaptureFixture[str], listen: str) -> None:
    more = f'listen = "{listen}"\nallow_plain_http_off_loopback = true'
    assert run(capsys, write(config.parent, more), "--check")[0] == 0


def test_a_damaged_bundle_a_missing_file_and_too_many_words_are_one_sentence(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, config.parent / "none.toml")[0] == 78
    assert run(capsys, config, "more")[0] == 2
    assert run(capsys, "enrol", "gate")[0] == 2
    (config.parent / "bundle" / "MODEL.md").write_text("changed")
    code, _, said = run(capsys, config)
    assert code == 65
    assert "MODEL.md" in said


def test_a_bundle_nobody_signed_is_used_only_where_the_settings_say_so(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, config, "--check")[0] == 0
    config.write_text(config.read_text("utf-8").replace("= true", "= false"), "utf-8")
    for words in ([config], [config, "--check"]):
        code, _, said = run(capsys, *words)
        assert code == 65
        assert "nobody signed" in said


def test_a_port_in_use_is_one_sentence_and_leaves_the_journal_free(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        more = f'listen = "127.0.0.1:{taken.getsockname()[1]}"'
        code, _, said = run(capsys, write(config.parent, more))
    assert code == 75, "systemd starts it again"
    assert "listen: expected to listen at 127.0.0.1:" in said
    assert not (config.parent / "data" / "journal.sqlite").exists()


def test_it_runs_says_where_and_ends_in_good_order_on_either_signal(collector: Process) -> None:
    token, people = collector.enrol(), People()
    for signal, name in ((15, "SIGTERM"), (2, "SIGINT")):
        collector.start()
        (outcome,) = collector.send(token, [people.sighting(1, at=10)])
        assert outcome.result == "stored"
        assert httpx.get(f"{collector.url}/v1/health").json()["status"] == "ok"
        assert collector.stop(signal) == 0
        assert f"collector {name}: ending" in collector.said
        assert "Traceback" not in collector.said
        assert token not in collector.said
    assert "1 sightings of the last 24 h" in collector.said


def test_a_second_collector_on_the_same_folder_is_told_so(collector: Process) -> None:
    collector.start()
    second = collector.command(str(collector.config))
    assert second.returncode == 78
    assert "in use by another collector" in second.stderr
    assert second.stderr.count("\n") == 1
    collector.stop()


def test_bytes_that_are_no_http_and_devices_that_hang_up_leave_it_serving(collector: Process) -> None:
    token, people = collector.enrol(), People()
    collector.start()
    host, _, port = collector.url.rpartition("/")[2].partition(":")
    for noise in (os.urandom(2000), b"POST /v1/sightings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
                  b"POST /v1/sightings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token.encode()
                  + b"\r\nContent-Length: 100\r\n\r\nabc"):
        with socket.create_connection((host, int(port)), 10) as wire:
            wire.sendall(noise)
    for _ in range(3):
        with socket.create_connection((host, int(port)), 10) as wire:
            wire.sendall(b"no HTTP\r\n\r\n")
            wire.recv(1)
    (outcome,) = collector.send(token, [people.sighting(1, at=10)])
    assert outcome.result == "stored"
    collector.stop()
    assert "Traceback" not in collector.said
    assert collector.said.count("Invalid HTTP request") == 1
    assert all(re.match(r"\d\d:\d\d:\d\d collector ", line) for line in collector.said.splitlines())


def test_systemd_hears_when_it_listens_and_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, Process(tmp_path / "collector") as collector:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        collector.enrol()
        collector.start()
        assert manager.recv(4096).decode().split("\n") == ["READY=1", "STATUS=devices enrolled: 1"]
        assert collector.stop() == 0
        assert manager.recv(4096).decode() == "STOPPING=1"
