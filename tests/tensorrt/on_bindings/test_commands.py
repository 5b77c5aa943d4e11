"""The commands an operator gives, over the real bindings: build and prove."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import open_engine, prove_commands, trial
from cmnas_edge.engine.contestant import Here
from cmnas_edge.engine.race import Candidate, candidates, race
from cmnas_edge.engine.results import Entrant
from tests.tensorrt.cuda_driver import Driver
from tests.tensorrt.world import World
from tests.tiny_bundle import TINY


def test_plans_are_built_for_both_modalities_and_then_there(world: World, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    build = ["engine", "build", str(TINY), "--cache", str(tmp_path), "--max-batch", "5", "--usual-batch", "2"]
    assert cli.main(build) == 0
    assert len(list(tmp_path.rglob("*.plan"))) == 2
    world.library.calls.clear()
    assert cli.main(build) == 0
    assert "builder.build_serialized_network" not in [call.name for call in world.library.calls]
    assert "DeviceError" not in capsys.readouterr().err


def test_the_proof_of_a_device_passes_and_says_what_was_tried(world: World, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    class Apart:    # in this process, which has the stand-ins
        of = staticmethod(lambda bundle, asked, cache, limit_s: trial.Here(bundle, asked, cache))

    monkeypatch.setattr(prove_commands, "Apart", Apart)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # the picture is another test's, and takes a second
    assert cli.main(["engine", "prove", str(TINY), "--cache", str(tmp_path), "--out", str(tmp_path), "--frames", "120",
                     "--opens", "3", "--max-batch", "5"]) == 0
    [path] = tmp_path.glob("prove-*.json")
    proof = json.loads(path.read_text(encoding="utf-8"))
    assert proof["lacking"] == ""
    assert proof["versions"]["tensorrt"] == world.version
    subjects = [subject for subject in proof["subjects"] if subject["engine"] == "tensorrt"]
    assert [subject["verdict"] for subject in subjects] == ["passed", "passed"]
    for subject in subjects:
        assert subject["layers"] == {"CaskConvolution Half": 1}
        assert subject["frames"]["wrong"] == 0
        assert len(subject["batches"]) == 5 + 2


@pytest.mark.parametrize("fails", ["", "cuStreamSynchronize"])
def test_a_race_is_run_and_not_won_by_a_gpu_that_fails_in_it(
        world: World, driver: Driver, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        fails: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["engine", "build", str(TINY), "--max-batch", "4", "--usual-batch", "1"]) == 0
    entrant = Entrant("tensorrt", "fp32")
    assert [one.excluded for one in candidates(bundle, threads=1, max_batch=4) if one.entrant == entrant] == [None]
    # In this process: the stand-in for the library is taught here.
    engine = partial(open_engine, bundle, name=entrant.engine, precision=entrant.precision, max_batch=4)
    entrants = [Candidate(entrant, lambda: Here(bundle, engine))]
    if fails:
        driver.taught[fails] = 700
    rows, winner = race(bundle, entrants, batches=(1, 4), rounds=1)
    driver.taught.clear()
    if fails:
        assert winner is None
        assert "illegal memory access" in rows[0].verdict
    else:
        assert winner == entrant
        assert set(rows[0].ms) == {1, 4}
