"""What the doctor says of a device that is well, and of each thing that is not: with the step that mends it."""

from __future__ import annotations

import datetime
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.camera.doctor import commands, device, machine
from cmnas_edge.camera.doctor.finding import Finding, fault
from cmnas_edge.camera.sending.transport import Reply
from cmnas_edge.camera.settings import DeviceSettings, load
from cmnas_edge.camera.tally import Tally
from cmnas_edge.engine import results
from cmnas_edge.engine.results import SAFE, Machine, Race, Row, bundle_digest, keep, race_path
from cmnas_edge.errors import CmnasError, ConfigError, DiskFull, LinkDown
from tests.camera.fakes import FPS, FRAME_HEIGHT, FRAME_WIDTH, film
from tests.collector.process import Process
from tests.tiny_bundle import TINY


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("collector"))
    process.token = process.enrol()
    process.start()
    yield process
    process.stop()


@pytest.fixture
def config(tmp_path: Path, collector: Process, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A device that is well."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    writer = cv2.VideoWriter(str(tmp_path / "walk.avi"), cv2.VideoWriter.fourcc(*"MJPG"), FPS,
                             (FRAME_WIDTH, FRAME_HEIGHT))
    for picture in film(5):
        writer.write(picture)
    writer.release()
    write_token(tmp_path, collector.token)
    path = tmp_path / "gate.toml"
    path.write_text(
        f'device = "gate"\ncollector = "{collector.url}"\ntoken = "gate.token"\n'
        f'bundle = "{TINY}"\ntrust = {{ allow_unsigned_bundle = true }}\n'
        '[[cameras]]\nname = "north"\nsource = { location = "walk.avi" }\n[spool]\nmib = 4\n')
    return path


def write_token(folder: Path, token: str) -> None:
    path = folder / "gate.token"
    path.touch(0o600)
    path.write_text(token)


def told(config: Path, *, cameras: bool = True) -> dict[str, Finding]:
    return {finding.subject: finding for finding in commands.findings(config, cameras=cameras)}


def test_of_a_device_that_is_well_nothing_is_a_fault_and_nothing_is_stored(
        config: Path, collector: Process, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(config)]) == 0
    said = capsys.readouterr().out
    assert "FAULT" not in said
    assert f"collector: {collector.url} answers in" in said
    assert "knows this device" in said
    assert "camera north: 160x120 after" in said
    assert "collector's clock: within two seconds" in said
    assert "visible on onnxruntime fp32, infrared on onnxruntime fp32" in said
    assert not (config.parent / "spool.db").exists()


def test_a_race_that_is_not_there_or_is_another_devices_is_noted_with_the_command_that_runs_one(config: Path) -> None:
    bundle = Bundle.open(TINY)
    for here, said in ((None, "none of this device as it is now is in"), (replace(results.machine(), power_mode="15W"),
                                                                          "1 of another device, version, power mode")):
        if here is not None:
            keep_race(bundle, here)
        found = told(config, cameras=False)["race"]
        assert found.state == "note"
        assert found.found.startswith("onnxruntime fp32, which runs everywhere; a race may find a faster engine, and ")
        assert said in found.found
        assert str(config.parent / "cache") in found.found
        assert found.fix.startswith(f"cmnas-edge engine race {TINY}; for a service, as the first lines of its unit")
    keep_race(bundle, results.machine())
    found = told(config, cameras=False)["race"]
    assert (found.state, found.found) == ("fine", "onnxruntime fp32, the winner of the race of 2026-11-22")


def test_who_names_an_engine_hears_nothing_of_races(config: Path) -> None:
    config.write_text(config.read_text().replace("[spool]", '[engine]\nname = "onnxruntime"\n[spool]'))
    assert "race" not in told(config, cameras=False)


def keep_race(bundle: Bundle, here: Machine) -> None:
    keep(Race(date="2026-11-22", name=bundle.name, bundle=bundle_digest(bundle), machine=here, threads=1, rounds=1,
              batches=(1,), rows=(Row(SAFE, "wins", {1: 1.0}),), winner=SAFE), race_path(bundle, here, 1))


def test_as_json_it_says_the_same_and_no_camera_is_opened_if_none_is_to_be(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "walk.avi").unlink()
    assert cli.main(["doctor", str(config), "--json", "--no-cameras"]) == 0
    found = {row["subject"]: row for row in json.loads(capsys.readouterr().out)["findings"]}
    assert {"python", "opencv", "clock", "disk", "collector"} <= found.keys()
    assert all(row["state"] in ("fine", "note") for row in found.values())
    assert not any(name.startswith("camera ") for name in found)
    assert all(row["fix"] for row in found.values() if row["state"] == "note")


def test_without_settings_it_looks_at_the_machine_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "engine onnxruntime: can be used" in said
    assert "collector" not in said


def test_a_token_of_nobody_is_a_fault_and_every_other_thing_is_still_looked_at(config: Path) -> None:
    write_token(config.parent, "cmnas_" + "s" * 40)
    found = told(config)
    assert (found["collector"].state, found["collector"].exit_code) == ("fault", 78)
    assert "expected one of an enrolled device" in found["collector"].found
    assert "enrol this device" in found["collector"].fix
    assert found["camera north"].state == "fine"


def test_the_command_ends_with_the_code_of_the_first_fault(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_token(config.parent, "cmnas_" + "s" * 40)
    assert cli.main(["doctor", str(config), "--no-cameras"]) == 78
    assert "FAULT collector: token: expected one of an enrolled device" in capsys.readouterr().out


def test_a_fault_is_the_sentence_and_its_last_part_the_fix_without_secrets() -> None:
    found = fault("camera", LinkDown("rtsp://op:hush@10.0.0.7: expected x; y, found z; look at rtsp://op:hush@10.0.0.7"))
    assert (found.found, found.fix) == ("rtsp://***@10.0.0.7: expected x; y, found z", "look at rtsp://***@10.0.0.7")


def test_a_collector_that_is_not_there_is_told_with_what_to_check(config: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        text = config.read_text()
        config.write_text(text.replace(load(config).collector, f"http://127.0.0.1:{nobody.getsockname()[1]}"))
        found = told(config)["collector"]
    assert (found.state, found.exit_code) == ("fault", LinkDown.exit_code)
    assert "refused" in found.found
    assert "check that it runs" in found.fix


def test_a_camera_that_shows_nothing_and_a_password_in_its_address_that_nobody_sees(config: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        location = f"rtsp://op:hush@127.0.0.1:{nobody.getsockname()[1]}/x"
        config.write_text(config.read_text().replace('"walk.avi"', f'"{location}", silence_s = 1.0'))
        found = told(config)["camera north"]
    assert (found.state, found.exit_code) == ("fault", 75)
    assert found.fix
    assert "hush" not in found.found + found.fix


def test_settings_that_cannot_be_read_are_the_fault_and_the_end(config: Path) -> None:
    config.write_text(config.read_text().replace("token =", "tokem ="))
    found = list(commands.findings(config))
    assert found[-1].subject == "settings"
    assert found[-1].exit_code == 78
    assert "tokem" in found[-1].found


def test_an_unsigned_bundle_that_nobody_allowed_is_a_fault(config: Path) -> None:
    config.write_text(config.read_text().replace("trust = { allow_unsigned_bundle = true }\n", ""))
    found = told(config, cameras=False)["bundle"]
    assert found.state == "fault"
    assert found.fix


def settings(config: Path, **changes: object) -> DeviceSettings:
    return replace(load(config), **changes)


def refusal(findings: Iterator[Finding]) -> CmnasError:
    with pytest.raises(CmnasError) as refused:
        list(findings)
    return refused.value


def test_a_disk_without_room_for_the_spool_is_full_before_it_is_full(config: Path) -> None:
    enormous = replace(load(config).spool, mib=1 << 20)     # a tebibyte
    error = refusal(device.disk(settings(config, spool=enormous)))
    assert isinstance(error, DiskFull)
    assert "lower 'mib'" in str(error)


def test_a_spool_where_this_user_may_not_write(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != config.parent)     # root may write anywhere
    assert isinstance(refusal(device.disk(load(config))), ConfigError)


class Way:
    """A transport whose reply a test chose."""

    def __init__(self, reply: Reply, tally: Tally, offset_s: float | None) -> None:
        self._reply = reply
        tally.clock_offset_s = offset_s
        self.sent: list[bytes] = []

    def post(self, body: bytes) -> Reply:
        self.sent.append(body)
        return self._reply

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(("offset_s", "state", "words"), [
    (0.4, "fine", "within two seconds"), (-1.9, "fine", "within"), (75.0, "note", "75 s ahead of this one"),
    (-7200.0, "note", "7200 s behind this one")])
def test_clocks_that_differ_are_told(config: Path, offset_s: float, state: str, words: str) -> None:
    findings = {one.subject: one for one in device.collector(
        load(config), lambda _, tally: Way(Reply(200, b""), tally, offset_s))}
    assert findings["collector's clock"].state == state
    assert words in findings["collector's clock"].found


def test_a_page_of_a_proxy_is_no_collector(config: Path) -> None:
    error = refusal(device.collector(load(config), lambda _, tally: Way(Reply(502, b"Bad Gateway"), tally, None)))
    assert "502" in str(error)
    assert "Bad Gateway" in str(error)


def test_it_leaves_the_log_of_what_is_sent_to_the_daemon(config: Path) -> None:
    text = config.read_text()
    config.write_text(f'{text}[link]\nsent_log = "sent.jsonl"\nsent_log_tls_keys = "keys"\n')
    assert told(config, cameras=False)["collector"].state == "fine"
    assert not (config.parent / "sent.jsonl").exists()
    assert not (config.parent / "keys").exists()


def test_what_it_sends_the_collector_is_empty(config: Path) -> None:
    ways: list[Way] = []

    def opened(_: DeviceSettings, tally: Tally) -> Way:
        ways.append(Way(Reply(200, b""), tally, None))
        return ways[-1]

    assert "collector's clock" not in {one.subject for one in device.collector(load(config), opened)}
    assert ways[0].sent == [b""]


@pytest.mark.parametrize(("days", "state", "words"), [
    (400, "fine", "holds for 400 days"), (12, "note", "holds for 12 days"), (-3, "fault", "ended 3 days ago")])
def test_a_certificate_is_told_of_before_it_ends(config: Path, days: int, state: str, words: str) -> None:
    now = datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gate")])
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - datetime.timedelta(days=999))
            .not_valid_after(now + datetime.timedelta(days=days, minutes=1)).sign(key, hashes.SHA256()))
    path = config.parent / "gate.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    link = replace(load(config).link, certificate=path)
    look = device.certificate(settings(config, link=link), now.timestamp)
    if state == "fault":
        assert words in str(refusal(look))
    else:
        (found,) = look
        assert (found.state, words in found.found) == (state, True)


def test_what_is_no_certificate_is_said(config: Path) -> None:
    link = replace(load(config).link, certificate=config)
    assert "expected a certificate in PEM" in str(refusal(device.certificate(settings(config, link=link))))


def test_another_python_and_a_clock_of_its_own_are_noted() -> None:
    assert [one.state for one in machine.python((3, 10))] == ["fine"]
    assert [one.state for one in machine.python((3, 13))] == ["note"]
    assert [one.state for one in machine.clock(lambda: True)] == ["fine"]
    for held in (False, None):
        (found,) = machine.clock(lambda held=held: held)
        assert (found.state, bool(found.fix)) == ("note", True)


def test_the_kernel_is_asked_for_its_clock_and_answers() -> None:
    assert machine._synchronised() in (True, False)


def test_a_cache_that_cannot_be_written_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cmnas-edge").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = {one.subject: one for one in commands.findings(None)}["engine cache"]
    assert (found.state, bool(found.fix)) == ("fault", True)


def test_a_collectors_settings_are_said_to_be_no_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "collector.toml"
    path.write_text('data = "/var/lib/cmnas-edge-collector"\n')
    assert cli.main(["doctor", str(path)]) == 78
    out = capsys.readouterr().out
    assert "expected settings of a device (device, collector, cameras), found a collector's (data)\n" in out
    assert "-> name a device's file" in out
