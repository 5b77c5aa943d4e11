"""A race: everybody right is timed, the fastest wins, and the same one wins again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle
from cmnas_edge.cli import main
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import ENGINES, openvino, tensorrt
from cmnas_edge.engine.contestant import Here
from cmnas_edge.engine.race import TIE, Candidate, candidates, choose, race
from cmnas_edge.engine.results import SAFE, Entrant, kept, machine
from cmnas_edge.errors import DeviceError
from cmnas_edge.sighting import EngineName, Precision
from tests.tiny_bundle import TINY, copy_tiny, reseal, with_variant

F32 = np.ndarray
ORT, ORT8, OV, OV16, OV8 = (Entrant("onnxruntime", "fp32"), Entrant("onnxruntime", "int8"), Entrant("openvino", "fp32"),
                            Entrant("openvino", "bf16"), Entrant("openvino", "int8"))
ALL = (ORT, ORT8, OV, OV16, OV8)


class Clock:
    """Stands still but for what engines take."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """Gives the golden embeddings, after so many milliseconds a crop on the clock; or does otherwise."""

    max_batch = 32

    def __init__(self, bundle: Bundle, modality: Modality, entrant: Entrant, clock: Clock, ms: float,
                 otherwise: Callable[[int, F32], F32] = lambda call, rows: rows) -> None:
        self.name: EngineName = entrant.engine
        self.precision: Precision = entrant.precision
        self.crops, self.golden = bundle.golden(modality)
        self.clock, self.ms, self.otherwise = clock, ms, otherwise
        self.calls = 0
        self.is_open = True

    def embed(self, crops: F32) -> F32:
        assert self.is_open
        self.calls += 1
        self.clock.now += self.ms * len(crops) / 1000
        rows = [next(row for row, known in enumerate(self.crops) if np.array_equal(known, crop)) for crop in crops]
        return self.otherwise(self.calls, self.golden[rows].copy())

    def close(self) -> None:
        self.is_open = False

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class Course:
    """A bundle and candidates by script."""

    def __init__(self) -> None:
        self.bundle = Bundle.open(TINY)
        self.clock = Clock()
        self.entrants: list[Candidate] = []
        self.engines: list[Scripted] = []

    def enter(self, entrant: Entrant, ms: float, otherwise: Callable[[int, F32], F32] = lambda call, rows: rows,
              excluded: str | None = None) -> None:
        def open_(modality: Modality) -> Scripted:
            self.engines.append(Scripted(self.bundle, modality, entrant, self.clock, ms, otherwise))
            return self.engines[-1]

        self.entrants.append(Candidate(entrant, lambda: Here(self.bundle, open_, self.clock), excluded))

    def run(self, previous: Entrant | None = None) -> tuple[dict[Entrant, str], Entrant | None]:
        self.rows, winner = race(self.bundle, self.entrants, batches=(1, 3, 8), rounds=2, previous=previous,
                                 say=lambda line: None)
        assert not any(engine.is_open for engine in self.engines)
        return {row.entrant: row.verdict for row in self.rows}, winner


# Near each other more often than not: the rule is about those.
costs = st.dictionaries(st.sampled_from(ALL), st.floats(1, 1.08) | st.floats(0.1, 1000), min_size=1)


@given(costs, st.data())
def test_a_race_run_again_has_the_same_winner_as_long_as_nobody_changes_by_3_percent_against_another(
        cost: dict[Entrant, float], data: st.DataObject) -> None:
    first = choose(cost)
    busy = data.draw(st.floats(0.5, 20))        # all of them slower: other work on the machine
    most = TIE * (1 - 1e-9)
    noise = {entrant: data.draw(st.sampled_from((1, most)) | st.floats(1, most)) for entrant in cost}
    again = {entrant: ms * busy * noise[entrant] for entrant, ms in cost.items()}
    assert choose(again, previous=first) == first


@given(costs, st.none() | st.sampled_from(ALL))
def test_nobody_wins_who_is_beaten_by_more_than_the_rule_allows(
        cost: dict[Entrant, float], previous: Entrant | None) -> None:
    winner = choose(cost, previous)
    assert cost[winner] <= (TIE**2 if winner == previous else TIE) * min(cost.values())


@pytest.mark.parametrize(("cost", "previous", "winner"), [
    ({ORT: 1.0, OV16: 0.5}, None, OV16),
    ({ORT: 1.0, OV16: 0.98}, None, ORT),                # a tie: the more precise
    ({OV8: 0.98, OV16: 1.0, ORT8: 0.99}, None, OV16),
    ({ORT8: 1.0, OV8: 0.99}, None, ORT8),               # a tie of equals: the order of ENGINES
    ({ORT: 1.0, OV16: 0.98}, OV16, OV16),               # who won stays
    ({ORT: 1.0, OV16: 1.05}, OV16, OV16),
    ({ORT: 1.0, OV16: 1.07}, OV16, ORT),
    ({ORT: 1.0}, OV16, ORT),                            # who is gone does not
])
def test_ties_are_settled_by_the_stated_rule(cost: dict[Entrant, float], previous: Entrant | None,
                                             winner: Entrant) -> None:
    assert choose(cost, previous) == winner


def test_the_fastest_wins_and_each_row_says_by_how_much_the_others_lost() -> None:
    course = Course()
    course.enter(ORT, 2.0)
    course.enter(OV, 1.0)
    verdicts, winner = course.run()
    assert winner == OV
    assert verdicts == {ORT: "2.00x the time of the fastest", OV: "wins"}
    assert course.rows[0].ms == pytest.approx({1: 2.0, 3: 6.0, 8: 16.0})
    assert course.rows[0].ms_per_crop == pytest.approx(2.0)
    assert course.rows[0].cosine == pytest.approx(1)


def test_a_race_where_nobody_lost_by_much_says_who_was_fastest() -> None:
    course = Course()
    course.enter(ORT, 1.02)
    course.enter(OV, 1.0)
    verdicts, winner = course.run()
    assert winner == ORT
    assert verdicts == {ORT: "wins (within 2.0% of the fastest, see the rule)",
                        OV: "fastest, but ties with the winner"}
    assert course.run(previous=OV)[1] == OV


def test_an_engine_with_wrong_numbers_never_wins_however_fast() -> None:
    course = Course()
    course.enter(ORT, 5.0)
    course.enter(OV, 1.0, lambda call, rows: -rows)
    course.enter(ORT8, 1.0, lambda call, rows: rows * np.nan)
    verdicts, winner = course.run()
    assert winner == ORT
    assert "expected the golden embeddings within 0.0001, found" in verdicts[OV]
    assert course.rows[1].ms == {}


@pytest.mark.parametrize("wrong_at", [1, 3, 8])
def test_an_engine_that_is_wrong_at_one_batch_size_alone_never_wins(wrong_at: int) -> None:
    course = Course()
    course.enter(ORT, 5.0)
    course.enter(OV, 1.0, lambda call, rows: np.roll(rows, 1, axis=1) if len(rows) == wrong_at else rows)
    verdicts, winner = course.run()
    assert winner == ORT
    assert "expected the golden embeddings" in verdicts[OV]


def test_an_engine_that_goes_wrong_only_after_a_while_never_wins() -> None:
    course = Course()
    course.enter(ORT, 5.0)
    course.enter(OV, 1.0, lambda call, rows: rows if call < 20 else rows[:, ::-1])
    verdicts, winner = course.run()
    assert winner == ORT
    assert "expected the golden embeddings" in verdicts[OV]


def test_an_engine_of_the_other_modality_alone_wrong_never_wins() -> None:
    course = Course()
    course.enter(ORT, 5.0)
    infrared = course.bundle.golden("infrared")[1]
    course.enter(OV, 1.0, lambda call, rows: rows[:, ::-1] if any((rows[0] == one).all() for one in infrared) else rows)
    assert course.run()[1] == ORT


@pytest.mark.parametrize("breaks_at", [1, 9, 15])
def test_an_engine_that_breaks_is_out_and_the_race_goes_on(breaks_at: int) -> None:
    def breaks(call: int, rows: F32) -> F32:
        if call >= breaks_at:
            raise RuntimeError("the card fell off")
        return rows

    course = Course()
    course.enter(OV, 1.0, breaks)
    course.enter(ORT, 5.0)
    verdicts, winner = course.run()
    assert winner == ORT
    assert verdicts == {OV: "broke: RuntimeError: the card fell off", ORT: "wins"}


def test_an_engine_that_cannot_be_opened_says_why_in_its_row() -> None:
    course = Course()
    course.enter(ORT, 5.0)

    def refuse(modality: Modality) -> Scripted:
        raise DeviceError("engine 'openvino': expected a processor that computes in bfloat16, found none")

    course.entrants.append(Candidate(OV16, lambda: Here(course.bundle, refuse)))
    verdicts, winner = course.run()
    assert winner == ORT
    assert verdicts[OV16].startswith("engine 'openvino': expected a processor that computes in bfloat16")


def test_who_may_not_run_is_never_opened_and_where_nobody_may_nobody_wins() -> None:
    course = Course()
    course.enter(OV8, 1.0, excluded="refused: rank-1 fell by 3.1 points")
    verdicts, winner = course.run()
    assert winner is None
    assert verdicts == {OV8: "refused: rank-1 fell by 3.1 points"}
    assert course.engines == []


def test_every_engine_and_precision_is_a_candidate_or_says_why_not(tmp_path: Path) -> None:
    bundle = with_variant(copy_tiny(tmp_path), "int8")
    found = {candidate.entrant: candidate.excluded for candidate in candidates(bundle, threads=1, max_batch=8)}
    assert {entrant.engine for entrant in found} == set(ENGINES)
    assert found[ORT] is None
    assert found[ORT8] is None
    assert found[OV16] == "the bundle has no such graph"
    assert found[Entrant("tensorrt", "fp16")] == "the bundle has no such graph"
    if lacks := tensorrt.missing():
        assert found[Entrant("tensorrt", "int8")] == f"needs {lacks}"


def test_the_command_prints_draws_and_keeps_a_race_and_a_second_one_honours_it(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = with_variant(copy_tiny(tmp_path), "int8")
    words = ["engine", "race", str(bundle.path), "--cache", str(tmp_path / "cache"), "--rounds", "1",
             "--batch", "1", "2"]
    assert main(words) == 0
    out = capsys.readouterr().out
    found = kept(bundle, machine(), 1, tmp_path / "cache")
    assert not isinstance(found, str)
    assert re.search(rf"^winner    {found.winner}; kept in .*\.json$", out, re.MULTILINE)
    printed = re.findall(r"^(onnxruntime|openvino|tensorrt) +(\w+) +[-\d]", out, re.MULTILINE)
    assert printed == [tuple(row.entrant) for row in found.rows]
    timed = {row.entrant for row in found.rows if row.ms}
    assert timed == {ORT, ORT8} | ({OV, OV8} if openvino.missing() is None else set())
    assert all(row.cosine is not None and row.cosine > 0.999999 and row.mb is not None and set(row.ms) == {1, 2}
               for row in found.rows if row.ms)
    (picture,) = (tmp_path / "cache" / "races").glob("*.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert found.batches == (1, 2)


def test_without_matplotlib_the_race_is_kept_and_the_missing_picture_explained(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    words = ["engine", "race", str(TINY), "--cache", str(tmp_path), "--rounds", "1", "--batch", "1"]
    assert main(words) == 0
    assert "picture   none: it needs matplotlib; install it with: pip" in capsys.readouterr().out
    assert len(list((tmp_path / "races").glob("*.json"))) == 1


@pytest.mark.parametrize(("words", "code", "says"), [
    (["--batch", "0"], 78, "--batch: expected 1 to 1024, found 0"),
    (["--threads", "0"], 78, "--threads: expected 1 to 256, found 0"),
    (["--rounds", "0"], 78, "--rounds: expected 1 to 10000, found 0"),
    (["--limit-s", "0"], 78, "--limit-s: expected 1 to 86400, found 0"),
    (["--cache", f"{TINY}/cache"], 78, "expected a place outside of any bundle, found it in"),
    (["--plot", f"{TINY}/race.png"], 78, "expected a place outside of any bundle, found it in"),
])
def test_a_race_of_nothing_is_refused(words: list[str], code: int, says: str,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "race", str(TINY), *words]) == code
    assert says in capsys.readouterr().err


def test_a_race_that_nobody_may_win_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy_tiny(tmp_path)
    shutil.copy(path / "infrared.onnx", path / "visible.onnx")
    reseal(path)
    assert main(["engine", "race", str(path), "--cache", str(tmp_path / "cache"), "--rounds", "1"]) == 69
    out, err = capsys.readouterr()
    assert "expected the golden embeddings within" in out
    assert "expected an engine that gives the golden embeddings here, found none" in err
    assert list((tmp_path / "cache").rglob("*.json")) == []


def test_a_folder_nobody_may_write_to_is_named_after_the_table_was_printed(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache").write_text("a file")
    words = ["engine", "race", str(TINY), "--cache", str(tmp_path / "cache"), "--rounds", "1", "--batch", "1"]
    assert main(words) == 78
    out, err = capsys.readouterr()
    assert f"{SAFE.engine}  {SAFE.precision}" in out
    assert "folder this user may write to, found" in err
