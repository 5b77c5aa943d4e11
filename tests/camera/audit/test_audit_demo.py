"""The demo's cameras, audited from outside the demo, by their logs and a recording of their way to the collector."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.camera.audit.network import audit, needs_recording, recorded, row
from tests.camera.fakes import FPS, FRAME_HEIGHT, FRAME_WIDTH, film
from tests.transport.broker import free_port

# The command as it is, but that its cameras keep what they send, and send it to a port that is known before.
WITH_LOGS = r"""
import asyncio, sys
from cmnas_edge import cli
from cmnas_edge.demo import play

def written(clip, *rest, whole=play._camera_settings):
    path = whole(clip, *rest)
    link = f"link = {{ sent_log = '{clip.name}.sent' }}\n"
    path.write_text(path.read_text("utf-8").replace("[[cameras]]", link + "[[cameras]]", 1), "utf-8")
    return path

def started(take, host, port, start=asyncio.start_server):
    assert port == 0
    return start(take, host, int(sys.argv[1]))

play._camera_settings, asyncio.start_server = written, started
sys.exit(cli.main(sys.argv[2:]))
"""


@needs_recording
def test_every_byte_of_all_cameras_of_the_demo_is_accounted_for(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture, run, port = tmp_path / "capture.pcap", tmp_path / "out" / "run", free_port()
    size = 4 * FRAME_WIDTH, 4 * FRAME_HEIGHT
    videos = []     # that everybody walks through, as in a site of four drawn cameras not everybody does
    for name in ("entrance", "yard", "gate", "hall"):
        path = tmp_path / f"{name}.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, size)
        for picture in film(60):
            writer.write(cv2.resize(picture, size))
        writer.release()
        videos += ["--video", str(path)]
    with recorded(capture, f"tcp port {port}"):
        ran = subprocess.run([sys.executable, "-c", WITH_LOGS, str(port), "demo", "--once", *videos,
                              "--out", str(tmp_path / "out")], capture_output=True,
                             text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    logs = sorted(run.glob("*.sent"))
    assert len(logs) == 4, "one for each daemon of the demo"
    all_logs = [word for log in logs for word in ("--log", str(log))]
    told = audit(run / f"{logs[0].stem}.toml", capture, *all_logs, capsys=capsys)
    assert told["is_accounted_for"], told["findings"]
    mine = row(told, f"127.0.0.1:{port}", "collector, HTTP")
    assert mine["capture_bytes"] == mine["log_bytes"] == told["embedding_bytes"] + told["header_bytes"]
    assert told["embedding_bytes"] > 4 * 1024, "somebody was seen"
    assert told["unexplained_bytes"] == 0
    # And each was heard: without one's log, what it sent is nobody's.
    for one in range(len(logs)):
        rest = audit(run / f"{logs[0].stem}.toml", capture, *all_logs[:2 * one], *all_logs[2 * one + 2:], capsys=capsys)
        assert not rest["is_accounted_for"], logs[one].stem
