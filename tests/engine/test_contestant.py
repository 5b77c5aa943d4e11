"""Whoever hangs or crashes in a race is a row of it, and no process outlives it."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cmnas_edge.bundle import Bundle
from cmnas_edge.cli import main
from cmnas_edge.engine.contestant import Apart, Here
from cmnas_edge.engine.race import Candidate, candidates, race
from cmnas_edge.engine.results import SAFE, Entrant
from cmnas_edge.errors import DeviceError
from tests.tiny_bundle import TINY

OTHER = Entrant("openvino", "fp32")
HANG = "ctypes.PyDLL(None).pause()"     # no thread of its Python runs again, and no signal handler of it
CRASH = "ctypes.string_at(0)"
# What a contestant may be made to do in one of its methods; the others do well.
ODD = """
import ctypes, math, os, signal, sys
sys.path[:] = {path!r}
from multiprocessing.connection import Connection
from cmnas_edge.engine.contestant import serve

class Odd:
    def open(self, modality): {open}
    def agreement(self, modality, batch): {agreement}; return 1.0
    def resident_mb(self): return math.nan
    def seconds(self, batch): {seconds}; return [batch / 1000] * 3
    def shut(self, modality): {shut}
    def close(self): pass

serve(Odd(), Connection(int(sys.argv[-1])))
"""


class Impatient(Apart):
    """Waits long for a start, which depends on what else this machine does, and not for a measurement."""

    def seconds(self, batch: int) -> list[float]:
        self.process.limit_s = 0.3
        return super().seconds(batch)


def odd(**does: str) -> Apart:
    lines = {"open": "pass", "agreement": "pass", "seconds": "pass", "shut": "pass", **does}
    limit_s = 0.3 if does.get("open") == HANG else 60
    return (Impatient if does.get("seconds") == HANG else Apart)(
        [sys.executable, "-c", ODD.format(path=sys.path, **lines)], limit_s)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(TINY)


def raced_with(bundle: Bundle, other: Apart) -> tuple[str, Entrant | None]:
    """Let an odd one race ONNX Runtime, in this process; what its row says, and who won."""
    from cmnas_edge.engine import open_engine

    entrants = [Candidate(OTHER, lambda: other), Candidate(SAFE, lambda: Here(bundle, partial(open_engine, bundle)))]
    rows, winner = race(bundle, entrants, batches=(1, 3), rounds=2, say=lambda line: None)
    assert rows[1].ms.keys() == {1, 3}
    other.process.popen.wait(0)      # it is gone, or this raises
    return rows[0].verdict, winner


def test_who_does_well_in_a_process_of_its_own_is_raced_like_anybody(bundle: Bundle) -> None:
    entrants = [Candidate(OTHER, odd)]
    rows, winner = race(bundle, entrants, batches=(1, 3), rounds=2, say=lambda line: None)
    assert winner == OTHER
    assert rows[0].ms == pytest.approx({1: 1.0, 3: 3.0})
    assert (rows[0].verdict, rows[0].cosine) == ("wins", 1.0)
    assert rows[0].mb is not None
    assert math.isnan(rows[0].mb)


@pytest.mark.parametrize(("where", "doing"), [
    ("open", "opening its visible graph"), ("seconds", "being timed, 1 crops at once")])
def test_who_hangs_is_out_after_the_limit_and_the_others_go_on(where: str, doing: str, bundle: Bundle) -> None:
    assert raced_with(bundle, odd(**{where: HANG})) == (
        f"gave no answer within 0.3 s while {doing}, and was ended; `cmnas-edge engine race --limit-s` gives it longer",
        SAFE)


@pytest.mark.parametrize(("does", "says"), [
    ({"open": CRASH}, "its process was ended by SIGSEGV while opening its visible graph"),
    ({"agreement": "batch == 1 or os._exit(3)"},
     "its process ended with exit code 3 while embedding 3 visible crops at once"),
    ({"seconds": "os.kill(os.getpid(), signal.SIGKILL)"},
     "its process was ended by SIGKILL, as where memory runs out, while being timed, 1 crops at once"),
    ({"shut": "raise RuntimeError('stuck')"}, "broke: RuntimeError: stuck"),
    ({"open": "raise MemoryError"}, "broke: MemoryError: no reason given"),
])
def test_who_dies_or_fails_is_out_and_the_others_go_on(does: dict[str, str], says: str, bundle: Bundle) -> None:
    assert raced_with(bundle, odd(**does)) == (says, SAFE)


def test_a_machine_that_starts_no_more_processes_is_a_row_too(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: Any, **named: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    (ours, *_) = candidates(bundle, threads=1, max_batch=1)
    rows, winner = race(bundle, [ours], batches=(1,), rounds=1, say=lambda line: None)
    assert winner is None
    assert rows[0].verdict == "found no process to run in (Resource temporarily unavailable)"


def test_one_of_ours_embeds_in_its_process_as_here_wherever_it_is_started(
        bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('a trap in the folder we happen to be in')")
    monkeypatch.chdir(tmp_path)
    one = Apart.of(bundle, SAFE, threads=1, max_batch=2)
    try:
        one.open("infrared")
        assert one.agreement("infrared", 3) == pytest.approx(1, abs=1e-5)
        assert 10 < one.resident_mb() < 10_000
        with pytest.raises(DeviceError, match="broke: KeyError"):
            one.agreement("visible", 1)     # never opened
    finally:
        one.close()
        one.close()
    with pytest.raises(DeviceError):
        one.open("visible")


def openvino_that(folder: Path, does: str) -> Path:
    """A folder with a package openvino that says when it is taken, and then does something else than it should."""
    (folder / "openvino").mkdir()
    (folder / "openvino" / "__init__.py").write_text(
        f"import ctypes, os\nos.write(2, b'openvino is here\\n')\n{does}\n")
    return folder


def test_the_command_tells_of_a_library_that_crashes_and_chooses_among_the_others(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(openvino_that(tmp_path, CRASH))
    words = ["engine", "race", str(TINY), "--cache", str(tmp_path), "--rounds", "1", "--batch", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert re.search(r"^openvino +fp32 .* its process was ended by SIGSEGV while opening its visible graph$", out, re.M)
    assert "winner    onnxruntime fp32; kept in" in out


def test_the_command_waits_no_longer_than_it_is_told_to(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(openvino_that(tmp_path, HANG))
    words = ["engine", "race", str(TINY), "--cache", str(tmp_path), "--rounds", "1", "--batch", "1", "--limit-s", "1"]
    assert main(words) in (0, 69)       # where this machine is busy, ONNX Runtime may take longer as well
    assert re.search(r"^openvino +fp32 .* gave no answer within 1 s while", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_a_race_that_is_stopped_in_the_middle_leaves_no_process_behind(
        how: signal.Signals, code: int, tmp_path: Path) -> None:
    # Ctrl-C reaches every process of the terminal's group: what would answer it is tried with one that can.
    does = "__import__('signal').pause()" if how == signal.SIGINT else HANG
    path = os.pathsep.join([str(openvino_that(tmp_path, does)), *sys.path])
    command = subprocess.Popen(
        [sys.executable, "-m", "cmnas_edge.cli", "engine", "race", str(TINY), "--cache", str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
        start_new_session=True)
    with command:
        assert command.stderr is not None
        assert command.stderr.readline() == b"openvino is here\n"
        (os.killpg if how == signal.SIGINT else os.kill)(command.pid, how)
        # To its end: each process of the race has the other end of this, so none of them is left then.
        said = command.stderr.read().decode()
    assert command.returncode == code
    assert said == ("cmnas-edge engine: stopped\n" if how == signal.SIGINT else "")
