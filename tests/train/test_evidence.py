"""The evidence: a plan that holds together, records that survive, a crew one can stop, a report that says no more."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.errors import ConfigError, DiskFull
from tests.train import evidence_runs
from tests.train.evidence_runs import made_up
from train.evidence import crew, report, sets
from train.evidence.plan import GROUPS, LOSSES, START, Fit, Search, plan, recipe
from train.evidence.records import Records, packed, unpacked
from train.evidence.tables import Row, _beyond_seeds, difference, rows, verdict
from train.evidence.work import arch_of


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "docs" / "evidence.jsonl")


@pytest.fixture
def whole(records: Records) -> Records:
    """Every run of the plan, made up."""
    for work in plan():
        records.keep(made_up(work, {name: records[name] for name in work.needs}))
    return records


def test_whatever_a_run_needs_stands_before_it_and_its_data_and_losses_exist() -> None:
    before: set[str] = set()
    for work in plan():
        assert set(work.needs) <= before, work.name
        assert work.name not in before
        before.add(work.name)
        assert work.data in sets.SETS
        assert work.losses in LOSSES
    assert not plan()[0].needs


def test_every_scheme_is_the_architecture_its_label_promises() -> None:
    found: dict[str, Any] = {}
    counts = {}
    for work in plan():
        found[work.name] = made_up(work, found)
        if isinstance(work, Fit):
            counts[work.name] = len(found[work.name]["split"])
    assert (counts["sites/shared/0"], counts["sites/split/0"], counts["sites/stem"]) == (0, 80, 1)
    assert counts["sites/early_half"] + counts["sites/late_half"] == 80
    assert (counts["near the best/00000"], counts["near the best/11111"]) == (0, 80)
    assert sum(counts[f"near the best/{code}"] for code in ("10000", "01000", "00100", "00010", "00001")) == 80
    for seed in range(3):
        searched, random = found[f"sites/searched/{seed}"], found[f"sites/random/{seed}"]
        assert searched["split"] == found[f"search {seed}"]["split"]
        assert counts[random["run"]] == counts[searched["run"]]
        assert random["split"] != searched["split"]
    by = [set(found[f"search {seed}"]["split"]) for seed in range(3)]
    assert set(found["sites/voted/0"]["split"]) == (by[0] & by[1]) | (by[0] & by[2]) | (by[1] & by[2])


def test_a_scheme_nobody_knows_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="expected a scheme, got 'half'"):
        arch_of(Fit(name="x", question="sites", label="x", scheme="half"), {})


def test_only_the_start_and_what_cannot_begin_there_learns_from_nothing() -> None:
    assert {work.question for work in plan() if isinstance(work, Fit) and not work.start} == {"start", "omni-scale"}
    for work in plan():
        if isinstance(work, Fit):
            made = recipe(work, Path("arch.json"))
            assert made.steps == work.steps
            assert bool(made.curriculum.identities) == (not work.start)


def test_nobody_is_learnt_from_and_asked_for() -> None:
    spans = {name: range(group.people.first_identity, group.people.first_identity + group.people.identities)
             for name, group in sets.SETS.items()}
    last = max(span.stop for span in spans.values())
    asked = [crops.identity for crops in _small_tests("regdb-like")]
    assert min(identities.min() for identities in asked) > last
    assert len(np.unique(np.concatenate(asked))) == sum(len(np.unique(identities)) for identities in asked)
    apart = ("sysu-like", "regdb-like", "before")
    assert all(not set(spans[a]) & set(spans[b]) for a in apart for b in apart if a != b)


def _small_tests(name: str) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "_TEST_IDENTITIES", 2)
        return sets.unmet(name)


def test_the_control_calls_visible_cameras_infrared() -> None:
    crops = _small_tests("no gap")[0]
    assert crops.infrared.any()
    assert (np.ptp(crops.images[crops.infrared].astype(int), axis=3).mean((1, 2)) > 3).all()  # they have colour
    real = _small_tests("sysu-like")[0]
    assert (np.ptp(real.images[real.infrared].astype(int), axis=3).max((1, 2)) == 0).all()


def test_stress_lifts_and_flattens_infrared_crops_and_leaves_visible_ones_alone() -> None:
    plain, stressed = (_small_tests(name)[0] for name in ("sysu-like", "stress"))
    assert (plain.infrared == stressed.infrared).all()
    visible = ~plain.infrared
    np.testing.assert_array_equal(stressed.images[visible], plain.images[visible])
    x = plain.images[plain.infrared] / 255
    np.testing.assert_allclose(stressed.images[plain.infrared] / 255, 0.25 + 0.5 * x**0.45, atol=0.5 / 255 + 1e-9)


@given(st.binary(max_size=200))
def test_bytes_come_back_from_text(data: bytes) -> None:
    values = np.frombuffer(data, np.uint8)
    assert np.array_equal(unpacked(packed(values)), values)


def test_the_last_line_of_a_run_holds_and_a_new_process_reads_it(records: Records, tmp_path: Path) -> None:
    assert "a" not in records
    assert records.get("a") is None
    for value in (1, 2):
        records.keep({"run": "a", "value": value})
    again = Records(tmp_path / "docs" / "evidence.jsonl")
    assert again["a"]["value"] == records["a"]["value"] == 2


@pytest.mark.parametrize("line", ["{", '{"question": "sites"}', "[]"])
def test_a_damaged_line_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_text('{"run": "a"}\n' + line + "\n")
    with pytest.raises(ConfigError, match=r"evidence.jsonl, line 2: expected a record with a run"):
        Records(path)


def test_what_is_left_brings_along_what_it_needs(records: Records) -> None:
    left = [work.name for work in crew.left(plan(), ["sites/searched/1"], records)]
    assert left == [START, "search 1", "sites/searched/1"]
    records.keep({"run": START})
    assert [work.name for work in crew.left(plan(), ["sites/searched/1"], records)] == ["search 1", "sites/searched/1"]
    assert len(crew.left(plan(), [], records)) == len(plan()) - 1
    with pytest.raises(ValueError, match=r"expected a question .*control.* found sits"):
        crew.left(plan(), ["sits"], records)


def test_runs_wait_for_what_they_need_and_are_kept_as_they_end(records: Records, tmp_path: Path) -> None:
    works = crew.left(plan(), ["sites/searched/0", "sites/stem", "control"], records)
    out = io.StringIO()
    crew.do(works, tmp_path / "runs", records, workers=2, make=evidence_runs.at_once, out=out)
    assert all(work.name in records for work in works)
    assert (tmp_path / "runs" / "began sites_searched_0").read_text() == f"search 0 {START}"
    assert "sites/stem: made up, 0 s" in out.getvalue()
    assert "100%" in out.getvalue()


def test_a_run_that_breaks_loses_nothing_that_was_made(records: Records, tmp_path: Path) -> None:
    works = crew.left(plan(), ["sites/stem"], records)
    with pytest.raises(ValueError, match="sites/stem broke"):
        crew.do(works, tmp_path / "runs", records, make=evidence_runs.the_second_breaks, out=io.StringIO())
    assert START in Records(tmp_path / "docs" / "evidence.jsonl")


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_command_ends_every_worker_and_keeps_what_was_made(tmp_path: Path, way: signal.Signals
                                                                             ) -> None:
    lines = tmp_path / "evidence.jsonl"
    script = ("import sys; from pathlib import Path; from tests.train.evidence_runs import forever\n"
              "from train.evidence import crew; from train.evidence.plan import plan\n"
              "from train.evidence.records import Records\n"
              "if __name__ == '__main__':\n"
              f"    records = Records(Path({str(lines)!r}))\n"
              "    works = crew.left(plan(), ['sizes'], records)\n"
              f"    crew.do(works, Path({str(tmp_path)!r}), records, workers=2, make=forever)")
    (tmp_path / "main.py").write_text(script)
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], cwd=root, stderr=subprocess.DEVNULL,
                               env={**os.environ, "PYTHONPATH": str(root)})
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("process *"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(way)
    assert process.wait(30) != 0
    assert [json.loads(line)["run"] for line in lines.read_text().splitlines()] == [START]
    workers = [int(trace.name.split()[1]) for trace in tmp_path.glob("process *")]
    while any(map(_runs, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_report_without_records_shows_no_empty_section(records: Records, tmp_path: Path) -> None:
    (path,) = report.write(plan(), records, tmp_path)
    text = path.read_text()
    assert "Nothing is made yet" in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Not made yet"]


def test_a_whole_report_has_every_section_and_shows_every_picture(whole: Records, tmp_path: Path) -> None:
    written = report.write(plan(), whole, tmp_path)
    text = written[0].read_text()
    story = Path(report.__file__).with_name("story.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        line for line in story.splitlines() if line.startswith("## ") and "Not made yet" not in line]
    assert "{" not in text
    for picture in written[1:]:
        assert f"results/{picture.name}" in text
        assert picture.stat().st_size > 5000
    assert len(written) == 6


def test_a_line_that_was_being_written_when_the_power_failed_counts_as_never_written(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl"
    path.write_text('{"run": "a", "v": 1}\n{"run": "b", "v"')
    records = Records(path)
    assert "b" not in records
    records.keep({"run": "c"})
    assert path.read_text() == '{"run": "a", "v": 1}\n{"run": "c"}\n'


def test_a_full_disk_leaves_the_lines_before_whole(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    records.keep({"run": "a"})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match="room for the record of 'b'"):
            records.keep({"run": "b"})
    records.keep({"run": "c"})
    assert "b" not in Records(records._path)
    assert {"a", "c"} == set(Records(records._path)._found)


def test_seeds_without_a_difference_are_told_apart_about_once_in_twenty() -> None:
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        pair = [Row(name, tuple({"seed": seed, "pairs": {"infrared-visible": {"mean_ap": rng.normal(35, 0.4)}}}
                                for seed in range(3))) for name in "ab"]
        wrong += _beyond_seeds(*pair)
    assert 4 < wrong < 30  # 15 expected; the odds of leaving these bounds are below 1 in 1,000


def _row(label: str, level: float, seeds: int, spread: float = 0.0) -> Row:
    rng = np.random.default_rng(len(label))
    found = []
    for seed in range(seeds):
        precision = np.clip(rng.normal(level + spread * (seed - 1), 0.05, 800), 0, 1)
        queries = {"each": 4, **{name: packed(np.rint(255 * precision).astype(np.uint8))
                                 for name in ("rank1", "average_precision")}}
        found.append({"seed": seed, "split": [], "queries": queries,
                      "pairs": {"infrared-visible": {"mean_ap": 100 * float(precision.mean())}}})
    return Row(label, tuple(found))


@pytest.mark.parametrize(("one", "other", "says"), [
    (_row("a", 0.40, 3), _row("bb", 0.30, 3), "better, beyond chance of people and seeds"),
    (_row("a", 0.30, 3), _row("bb", 0.40, 3), "worse, beyond chance of people and seeds"),
    (_row("a", 0.40, 1), _row("bb", 0.30, 1), "not beyond what seeds differ by"),
    (_row("a", 0.33, 3, 0.1), _row("bb", 0.30, 3, -0.1), "not beyond what seeds differ by"),
    (_row("a", 0.30, 3), _row("bb", 0.30, 3), "no difference beyond chance of the people"),
])
def test_a_verdict_says_no_more_than_queries_and_seeds_allow(one: Row, other: Row, says: str) -> None:
    assert says in verdict(one, other)


def test_a_difference_is_taken_over_the_seeds_both_have() -> None:
    one, other = _row("a", 0.4, 3), _row("bb", 0.3, 1)
    ours, theirs = Row("a", one.records[:1]).queries(), other.queries()
    expected = 100 * float(np.mean(ours.average_precision - theirs.average_precision))
    found = difference(one, other)
    assert found.points == pytest.approx(expected)
    assert found.low < expected < found.high


def test_rows_gather_seeds_under_one_label(whole: Records) -> None:
    found = {row.label: row for row in rows(plan(), whole, "sites")}
    assert found["searched"].seeds == 3
    assert found["stem"].seeds == 1
    assert found["stem"].split == "1"
    assert found["searched"].cell("infrared-visible", "mean_ap").count("±") == 1
    assert "±" not in found["stem"].cell("infrared-visible", "mean_ap")


def test_a_search_is_planned_for_each_thing_it_must_show() -> None:
    searches = [work for work in plan() if isinstance(work, Search)]
    assert {work.level for work in searches} == {"site", "groups"}
    assert any(work.data == "no gap" for work in searches)
    assert {work.guide for work in searches} == {"metric", "metric + c3mmd"}
    assert len(GROUPS) == 5


def test_people_without_a_pair_of_modalities_get_a_dash_in_its_column() -> None:
    row = Row("regdb-like", ({"seed": 0, "pairs": {"infrared-visible": {"mean_ap": 41.8}}},))
    assert row.cell("visible-visible", "mean_ap") == "-"
    assert row.cell("infrared-visible", "mean_ap") == "41.8"
