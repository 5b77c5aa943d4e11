"""``cmnas-edge camera`` as an operator meets it: one sentence when something is wrong, nothing lost when it dies."""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.camera import commands
from cmnas_edge.camera.daemon import Daemon
from cmnas_edge.camera.sending.spool import Spool
from cmnas_edge.sighting import key_id
from cmnas_edge.site_key import SiteKey
from tests.camera.fakes import FPS, FRAME_HEIGHT, FRAME_WIDTH, Served, StrictCollector, film, write_boxes
from tests.proof import KILLS
from tests.tiny_bundle import TINY, copy_tiny

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 120


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("footage") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (FRAME_WIDTH, FRAME_HEIGHT))
    assert writer.isOpened()
    for picture in film(FRAMES):
        writer.write(picture)
    writer.release()
    return path


class Device:
    """A folder with all that a daemon needs."""

    def __init__(self, folder: Path, footage: Path) -> None:
        self.folder = folder
        self.port = 1
        self.lines = {
            "device": '"gate"', "collector": "", "token": '"gate.token"', "bundle": f'"{TINY}"', "drain_s": "10.0",
            "trust": "{allow_unsigned_bundle = true}",
            "spool": '{path = "gate.spool"}', "engine": '{name = "onnxruntime"}', "link": "{wait_s = 0.01}"}
        self.camera = {
            "name": '"north"', "source": f'{{location = "{footage}", pace = "fast", starts_at = 1700000000.0}}',
            "detector": '{kind = "boxes", path = "boxes.jsonl"}', "spectrum": '{modality = "visible"}',
            "select": "{min_height = 20, period_s = 0.5, view_gap_s = 0.1}"}
        write_boxes(folder / "boxes.jsonl", FRAMES)
        token = folder / "gate.token"
        token.write_text("cmnas_" + "s" * 40)
        token.chmod(0o600)

    def config(self) -> Path:
        lines = {**self.lines, "collector": self.lines["collector"] or f'"http://127.0.0.1:{self.port}"'}
        path = self.folder / "gate.toml"
        path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()) + "\n[[cameras]]\n"
                        + "".join(f"{key} = {value}\n" for key, value in self.camera.items()))
        return path

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-m", "cmnas_edge.cli", "camera", str(self.config())], cwd=ROOT,
                                stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture
def device(tmp_path: Path, footage: Path) -> Device:
    return Device(tmp_path, footage)


@pytest.fixture
def collector() -> StrictCollector:
    bundle = Bundle.open(TINY)
    return StrictCollector("gate", bundle.dimension, bundle.fingerprint)


@pytest.fixture
def served(collector: StrictCollector, device: Device) -> Iterator[Served]:
    with Served(lambda body: collector.post(body)[:2]) as server:
        device.port = server.port
        yield server


def check(device: Device, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    code = cli.main(["camera", str(device.config()), *flags])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("url", [
    "rtsp://admin:hunter2@10.0.0.7/live", "rtsp://hunter2@10.0.0.7/live", "rtsp://admin:my hunter2@10.0.0.7/live",
    "rtsp://10.0.0.7/live?user=admin&password=hunter2", "rtsp://10.0.0.7/user=admin_password=hunter2_channel=1.sdp"])
def test_check_prints_what_is_in_effect_without_secrets(
        device: Device, capsys: pytest.CaptureFixture[str], url: str) -> None:
    device.camera["source"] = f'{{location = "{url}"}}'
    assert cli.main(["camera", str(device.config()), "--check"]) == 0
    out = capsys.readouterr().out
    assert "hunter2" not in out
    assert "sss" not in out
    assert '"rtsp://10.0.0.7"' in out
    assert "golden embeddings: visible on onnxruntime fp32\n" in out
    assert not (device.folder / "gate.spool").exists(), "checking must not touch a running daemon's spool"


def spoil(device: Device, what: str) -> None:
    match what:
        case "typo":
            device.lines["devise"] = device.lines.pop("device")
        case "missing video":
            device.camera["source"] = '{location = "none.avi"}'
        case "no video":
            (device.folder / "text.avi").write_text("this is no video")
            device.camera["source"] = '{location = "text.avi"}'
        case "odd url":
            device.camera["source"] = '{location = "gopher://10.0.0.7"}'
        case "missing boxes":
            device.camera["detector"] = '{kind = "boxes", path = "none.jsonl"}'
        case "missing token":
            (device.folder / "gate.token").unlink()
        case "open token":
            (device.folder / "gate.token").chmod(0o644)
        case "plain http":
            device.lines["collector"] = '"http://collector.example:8700"'
        case "missing bundle":
            device.lines["bundle"] = '"none"'
        case "damaged bundle":
            device.lines["bundle"] = f'"{copy_tiny(device.folder)}"'
            weights = device.folder / "tiny" / "weights.bin"
            weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
        case "open site key":
            SiteKey.make(device.folder / "site.key")
            (device.folder / "site.key").chmod(0o640)
            device.lines["site_key"] = '"site.key"'
        case "unsigned bundle":
            del device.lines["trust"]
        case "empty video":
            cv2.VideoWriter(str(device.folder / "zero.avi"), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"),
                            FPS, (FRAME_WIDTH, FRAME_HEIGHT)).release()
            device.camera["source"] = '{location = "zero.avi"}'
        case "pipe":
            os.mkfifo(device.folder / "pipe.avi")
            device.camera["source"] = '{location = "pipe.avi"}'
        case "spool folder":
            device.lines["spool"] = '{path = "."}'
        case "trace nowhere":
            device.lines["trace"] = '"none/trace.jsonl"'
        case "tensorrt":
            device.lines["engine"] = '{name = "tensorrt"}'


BAD = [
    ("typo", 78, "did you mean 'device'"), ("missing video", 78, "none.avi"), ("no video", 78, "text.avi"),
    ("odd url", 78, "found another URL"), ("missing boxes", 78, "none.jsonl"), ("missing token", 78, "gate.token"),
    ("open token", 78, "chmod 600"), ("plain http", 78, "plain http to collector.example"),
    ("missing bundle", 65, "none"), ("damaged bundle", 65, "weights.bin"),
    ("unsigned bundle", 65, "nobody signed"), ("open site key", 78, "chmod 600"),
    ("tensorrt", 69, 'set name = "onnxruntime" in [engine]'),
    ("empty video", 78, "zero.avi"), ("pipe", 78, "found a pipe"), ("spool folder", 78, "spool"),
    ("trace nowhere", 78, "trace.jsonl"),
]


@pytest.mark.parametrize(("what", "code", "says"), BAD, ids=[what for what, *_ in BAD])
@pytest.mark.parametrize("flags", [["--check"], []], ids=["check", "run"])
def test_what_is_wrong_ends_in_one_sentence_and_its_exit_code(
        device: Device, capsys: pytest.CaptureFixture[str], what: str, code: int, says: str, flags: list[str]) -> None:
    spoil(device, what)
    found, err = check(device, capsys, *flags)
    assert found == code
    assert says in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("what", ["odd url", "plain http"])
def test_check_says_in_which_line_an_address_stands_that_is_none(
        device: Device, capsys: pytest.CaptureFixture[str], what: str) -> None:
    spoil(device, what)
    _, err = check(device, capsys, "--check")
    line = int(re.search(r"gate\.toml: line (\d+): (source|collector): expected", err)[1])  # type: ignore[index]
    wrong = {"odd url": "gopher://", "plain http": "http://collector"}[what]
    assert wrong in next(device.folder.glob("*.toml")).read_text().splitlines()[line - 1]


def test_a_health_port_in_use_ends_it_as_something_to_try_again(
        device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        device.lines["health"] = f'"127.0.0.1:{taken.getsockname()[1]}"'
        code, err = check(device, capsys)
    assert code == 75, "systemd starts it again"
    assert "health: expected to listen at 127.0.0.1:" in err


@pytest.mark.parametrize("key", ["sent_log", "sent_log_tls_keys"])
def test_an_audits_file_that_could_not_be_written_is_found_before_the_audit(
        device: Device, capsys: pytest.CaptureFixture[str], key: str) -> None:
    device.lines["link"] = f'{{{key} = "none/yet"}}'
    code, err = check(device, capsys, "--check")
    assert code == 78
    assert f"expected '[link] {key}' in a folder, found none; make {device.folder}/none" in err


@pytest.mark.parametrize("locked", ["source", "boxes.jsonl", "gate.spool", "report.json"])
def test_what_this_user_may_not_touch_is_said_to_be_denied(
        device: Device, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, locked: str) -> None:
    device.camera["source"] = '{location = "source/a.avi"}'
    device.lines["report"] = '"report.json"'
    if locked != "source":
        (device.folder / "source").mkdir()
        cv2.imwrite(str(device.folder / "source" / "a.png"), np.zeros((8, 8, 3), np.uint8))
        device.camera["source"] = '{location = "source"}'
    stat, access = Path.stat, os.access

    def refused_stat(path: Path, **rest: bool) -> os.stat_result:
        if f"/{locked}/" in f"{path}/" and locked in ("source", "boxes.jsonl"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **rest)

    (device.folder / locked).touch()
    monkeypatch.setattr(Path, "stat", refused_stat)
    monkeypatch.setattr(os, "access", lambda path, mode: locked not in str(path) and access(path, mode))
    code, err = check(device, capsys, "--check")
    assert code == 78
    assert locked in err
    assert "Permission denied" in err
    assert err.count("\n") == 1


def test_a_second_daemon_on_a_spool_ends_and_a_damaged_spool_is_moved_aside(
        device: Device, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    with Spool(device.folder / "gate.spool", 1 << 22):
        code, err = check(device, capsys)
    assert (code, "another daemon" in err, err.count("\n")) == (78, True, 1)
    (device.folder / "gate.spool").write_bytes(b"junk" * 5000)
    code, err = check(device, capsys)
    assert (code, err.count("found one that cannot be used (file is not a database)")) == (0, 1)
    (aside,) = device.folder.glob("gate.spool.damaged-*")
    assert aside.read_bytes() == b"junk" * 5000


def test_a_recording_is_delivered_and_the_command_ends(device: Device, collector: StrictCollector, served: Served,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    code, err = check(device, capsys)
    assert code == 0, err
    stored = collector.stored
    assert [s.sequence for s in stored] == list(range(1, len(stored) + 1))
    # 12 s of one person, told every 0.5 s (a frame later, since due is asked once a frame).
    assert len(stored) >= 20
    assert served.heads[0]["authorization"] == "Bearer cmnas_" + "s" * 40


def test_a_device_with_a_site_key_sends_turned_vectors_and_check_says_which_key(
        device: Device, collector: StrictCollector, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    key = SiteKey.make(device.folder / "site.key")
    device.lines["site_key"] = '"site.key"'
    code, err = check(device, capsys)
    assert code == 0, err
    assert {s.transform for s in collector.stored} == {key.transform}
    assert cli.main(["camera", str(device.config()), "--check"]) == 0
    assert f"# site key {key_id(key.transform)}\n# nobody signed this bundle" in capsys.readouterr().out


def test_without_a_collector_a_recording_ends_as_something_to_try_again(
        device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.lines["drain_s"] = "0.3"
    code, err = check(device, capsys)
    assert code == 75
    ended = err[err.index("records waiting"):]
    assert "Connection refused; check that it runs" in ended
    assert "then start again: they are on disk" in ended
    assert "Traceback" not in err


def wait_for(reached: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not reached():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order_with_everything_delivered(
        device: Device, collector: StrictCollector, served: Served, number: signal.Signals) -> None:
    device.camera["source"] = device.camera["source"].replace('"fast"', '"real", loop = true')
    process = device.start()
    wait_for(lambda: len(collector.stored) >= 2, process)
    process.send_signal(number)
    err = process.communicate(timeout=30)[1]
    assert process.returncode == 0, err
    assert "Traceback" not in err
    with Spool(device.folder / "gate.spool", 1 << 22) as spool:
        assert len(spool) == 0
        assert max(s.sequence for s in collector.stored) == spool.put([b""]) - 1


def test_ctrl_c_at_any_time_ends_it_without_a_traceback(device: Device) -> None:
    rng = random.Random(1)
    device.lines["drain_s"] = "0.1"
    for _ in range(4):
        process = device.start()
        wait_for((device.folder / "gate.spool.lock").exists, process)
        time.sleep(rng.uniform(0.0, 0.6))
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=30)[1]
        # Stopped, had ended by itself, was still starting, or was past its last line.
        assert process.returncode in (0, 75, 130, -signal.SIGINT), err
        assert "Traceback" not in err
        (device.folder / "gate.spool.lock").unlink()


def test_ctrl_c_while_a_source_is_silent_ends_it_without_an_abort(device: Device) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        device.camera["source"] = f'{{location = "http://127.0.0.1:{silent.getsockname()[1]}/live", silence_s = 60.0}}'
        process = device.start()
        peer, _ = silent.accept()  # now a thread waits inside OpenCV
        with peer:
            process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=40)[1]
    assert process.returncode == 0, err
    assert "ended: north unknown" in err


def test_a_thread_left_behind_in_a_library_is_not_waited_for_at_the_end(
        device: Device, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    over, left = threading.Event(), []

    def leave(code: int) -> None:
        left.append(code)
        raise SystemExit(code)

    class Stuck(Daemon):
        def run(self) -> None:
            threading.Thread(target=over.wait, args=(30,), name="camera north", daemon=True).start()

    monkeypatch.setattr(commands, "Daemon", Stuck)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(SystemExit):
        cli.main(["camera", str(device.config())])
    over.set()
    assert left == [0]
    with Spool(device.folder / "gate.spool", 1 << 22):
        pass  # it was let go before


@pytest.mark.prove
@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_at_any_point_it_loses_no_spooled_record_and_stores_none_twice(
        device: Device, collector: StrictCollector, served: Served) -> None:
    rng = random.Random(0)
    device.lines["spool"] = '{path = "gate.spool", mib = 4}'
    device.camera["source"] = device.camera["source"].replace('"fast"', '"fast", loop = true')
    answers = 0
    for _ in range(KILLS):
        before = len(collector.stored)
        collector.up = rng.random() < 0.7   # at times the collector is away too
        process = device.start()
        if collector.up:
            wait_for(lambda start=before: len(collector.stored) > start, process)
        else:
            time.sleep(2.0)
        time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        process.communicate(timeout=30)
        answers += collector.up
    collector.up = True
    device.camera["source"] = device.camera["source"].replace(", loop = true", "")
    process = device.start()
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 0, err
    sequences = [s.sequence for s in collector.stored]
    lost = {n for gap in collector.gaps.values() for n in range(gap.first, gap.last + 1)}
    assert sequences == sorted(sequences)
    assert set(range(1, sequences[-1] + 1)) - set(sequences) <= lost
    assert len({s.tracklet >> 32 for s in collector.stored}) >= answers
