"""Whoever crashes or hangs while it is tried is a verdict in the report, with what was found of it until then."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine.proof import Asked, Proof, Subject
from cmnas_edge.engine.prove import prove
from cmnas_edge.engine.tensorrt.job import How
from cmnas_edge.engine.trial_apart import Apart
from tests.tiny_bundle import TINY

ASKED = Asked(frames=2, opens=0, how=How(1, 2))
HANG = "ctypes.PyDLL(None).pause()"     # no thread of its Python runs again, and no signal handler of it
CRASH = "ctypes.string_at(0)"
# Trials that do well, but for the infrared plan: it does what it is made to do, after its golden crops.
ODD = """
import ctypes, os, sys
sys.path[:] = {path!r}
from multiprocessing.connection import Connection
from cmnas_edge.engine.trial import Look
from cmnas_edge.engine.trial_apart import serve

class Odd:
    def look(self):
        {look}
        return Look(device="Orin, 8 multiprocessors", tensorrt="10.3.0")

    def attempt(self, subject, say, at):
        say("  tried     " + str(subject))
        if str(subject) == "tensorrt fp32 infrared":
            at("embedding the golden crops")
            subject.golden = float("inf")
            at("embedding frame 7 of 9")
            {does}
        subject.verdict = "passed"
        return subject

serve(Odd(), Connection(int(sys.argv[-1])))
"""


def odd(does: str, look: str = "pass", limit_s: float = 60) -> Apart:
    return Apart([sys.executable, "-c", ODD.format(path=sys.path, does=does, look=look)], limit_s)


def test_what_crashes_loses_only_itself_and_no_figure() -> None:
    lines: list[str] = []
    trials = odd(CRASH)
    proof = prove(Bundle.open(TINY), ASKED, trials, trials.look(), say=lines.append)
    assert [subject.verdict for subject in proof.subjects] == [
        "passed", "passed", "passed", "its process was ended by SIGSEGV while embedding frame 7 of 9"]
    assert proof.subjects[3].golden == float("inf")     # as it was told, though JSON would have made nothing of it
    assert "  tried     tensorrt fp32 infrared" in lines
    assert (proof.whole, proof.device, proof.versions["tensorrt"]) == (True, "Orin, 8 multiprocessors", "10.3.0")


@pytest.mark.parametrize(("does", "limit_s", "says"), [
    ("pass", 60, "passed"), ("os._exit(3)", 60, "its process ended with exit code 3 while embedding frame 7 of 9"),
    # The start counts, too, and how long it takes depends on what else this machine does.
    (HANG, 3, ("gave no answer within 3 s while (starting|embedding frame 7 of 9), and was ended; "
               "`cmnas-edge engine prove --limit-s` gives it longer")),
], ids=["well", "exits", "hangs"])
def test_whatever_becomes_of_it_is_its_verdict(does: str, limit_s: float, says: str) -> None:
    told = odd(does, limit_s=limit_s).attempt(Subject("tensorrt", "fp32", "infrared"), lambda _: None)
    assert re.fullmatch(says, told.verdict)


def test_a_gpu_whose_very_look_crashes_is_no_lack_of_one() -> None:
    found = odd("pass", look=CRASH).look()
    assert (found.lacking, found.device) == ("", "")
    assert found.fault == "its process was ended by SIGSEGV while being asked for its GPU"


def test_the_command_writes_its_report_though_the_library_crashes_in_every_process(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lib" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "lib" / "onnxruntime" / "__init__.py").write_text(f"import ctypes\n{CRASH}\n")
    monkeypatch.syspath_prepend(tmp_path / "lib")   # this process has the real one already
    assert cli.main(["engine", "prove", str(TINY), "--out", str(tmp_path), "--frames", "2", "--opens", "0",
                     "--max-batch", "2", "--precision", "fp32"]) == 69
    said = capsys.readouterr()
    assert "verdict   0 of 4 passed" in said.out
    assert "onnxruntime fp32 visible, onnxruntime fp32 infrared, tensorrt fp32 visible" in said.err
    (written,) = tmp_path.glob("prove-unknown-gpu-*.json")
    proof = msgspec.json.decode(written.read_bytes(), type=Proof)
    assert proof.whole
    assert {subject.verdict for subject in proof.subjects} == {"its process was ended by SIGSEGV while starting"}
