"""The whole way as a user walks it: one command, real processes, real footage, true figures."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from cmnas_edge import bundle, config
from cmnas_edge.bundle import signature
from cmnas_edge.demo import play, report
from tests.shared import SHARED, needs_shared
from tests.tiny_bundle import copy_tiny

ROOT = Path(__file__).resolve().parents[2]


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cmnas_edge.cli", "demo", "--out", str(folder / "out"), *words],
                          capture_output=True, text=True, check=False, timeout=200)


def test_a_drawn_site_is_watched_linked_and_scored(tmp_path: Path) -> None:
    written = tmp_path / "demo.json"
    ran = demo(tmp_path, "--once", "--seconds", "24", "--people", "3", "--report", str(written))
    assert ran.returncode == 0, ran.stderr
    found = msgspec.json.decode(written.read_bytes(), type=report.Report)
    assert (found.people, found.cameras, found.pixel_bytes) == (3, 4, 0)
    assert found.tracklets >= 3
    assert found.sightings >= found.tracklets
    assert found.links is not None
    assert found.bytes_per_sighting == found.sent_bytes / found.sightings
    # One packed embedding is 1,024 bytes; all that surrounds it must be less than that.
    assert 1024 < found.bytes_per_sighting < 2048
    assert "pixel bytes sent" in ran.stdout
    assert (tmp_path / "out" / "demo.png").read_bytes().startswith(b"\x89PNG")


@needs_shared("data/one_by_one_person.mp4")
def test_your_own_footage_has_no_ground_truth_and_says_so(tmp_path: Path) -> None:
    written = tmp_path / "demo.json"
    clip = tmp_path / "clip.avi"
    cut(SHARED / "data" / "one_by_one_person.mp4", clip, frames=150)
    ran = demo(tmp_path, "--once", "--video", str(clip), "--report", str(written))
    assert ran.returncode == 0, ran.stderr
    found = msgspec.json.decode(written.read_bytes(), type=report.Report)
    assert (found.links, found.cross_modality, found.cameras, found.pixel_bytes) == (None, None, 1, 0)
    assert found.sightings >= 1


def cut(source: Path, to: Path, frames: int) -> None:
    import cv2

    video = cv2.VideoCapture(str(source))
    size = (int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(to), cv2.VideoWriter.fourcc(*"MJPG"), 10, size)
    for _ in range(frames):
        writer.write(video.read()[1])
    writer.release()


@pytest.mark.parametrize(("words", "said"), [
    (["--video", "none.mp4"], "none.mp4: expected a video, found no file"),
    (["--video", __file__], "test_demo.py: expected a video, found something else"),
    (["--detector", "none.onnx"], "none.onnx: expected a detector's ONNX file, found none"),
    (["--people", "0"], "expected at least 1 person"),
    (["--people", "501", "--seconds", "10"], "change --seed, --people or --seconds"),
    (["--seed", "-1", "--seconds", "10"], "change --seed, --people or --seconds"),
    (["--report", "no/such/folder/x.json"], "found no such folder; correct --report"),
    (["--report", "."], "found a folder; correct --report"),
])
def test_bad_input_is_refused_before_anything_is_drawn(tmp_path: Path, words: list[str], said: str) -> None:
    ran = demo(tmp_path, "--once", *words)
    assert ran.returncode == 78
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "out" / "footage").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "out" / "run" / "thesis.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("years of work")
    ran = demo(tmp_path, "--once", "--seconds", "10", "--people", "1")
    assert ran.returncode == 78
    assert "expected a new folder or one of an earlier demo, found other files" in ran.stderr
    assert kept.read_text() == "years of work"


def test_its_page_lets_in_who_sees_the_link_and_ended_from_outside_it_stops_what_it_started(tmp_path: Path) -> None:
    with (tmp_path / "demo.log").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-m", "cmnas_edge.cli", "demo", "--out", str(tmp_path / "out"),
                                    "--seconds", "10", "--people", "1"], stdout=subprocess.PIPE, stderr=said, text=True)
    assert process.stdout is not None
    while "page:" not in (line := process.stdout.readline()):
        assert process.poll() is None
    url = line.split()[1]
    with httpx.Client(base_url=url[:url.index("/log-in/")]) as page:
        assert page.get("/v1/session").status_code == 401
        assert page.get(url).status_code == 303
        assert page.get("/v1/session").json()["role"] == "operator"
        cameras = page.get("/v1/cameras").json()["cameras"]
        assert cameras
        assert all(camera["recorded"] for camera in cameras), "footage that ran ahead of the clock"
    assert httpx.get(url).status_code == 410, "it lets in once"
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.wait(60) == 143
    assert str(tmp_path) not in " ".join(
        " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))


def test_the_published_schema_is_that_of_the_report() -> None:
    assert (ROOT / "docs" / "demo-report.schema.json").read_bytes() == report.schema(), (
        "write it anew: python -c \"from cmnas_edge.demo import report; print(report.schema().decode(), end='')\"")


def test_rooms_use_the_bundle_the_demo_was_told_to_and_no_other(tmp_path: Path) -> None:
    tiny = copy_tiny(tmp_path)
    settings = tmp_path / "part.toml"

    def trust() -> bundle.Trust:
        class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
            trust: bundle.Trust = bundle.Trust()

        settings.write_text(play._trust(tiny))
        return config.load(settings, Part).trust

    assert trust() == bundle.Trust(allow_unsigned_bundle=True)
    manifest = (tiny / "manifest.json").read_bytes()
    (tiny / bundle.SIGNATURE).write_text(signature.signed_by(signature.new_key(), manifest))
    assert trust() == bundle.Trust(keys=bundle.Bundle.open(tiny).signers)
    assert play._trust(bundle.default_path().resolve()) == ""
