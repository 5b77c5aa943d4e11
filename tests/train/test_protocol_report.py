"""One call gives every line of a dataset's table, ours apart from re-ranked and published ones."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmnas_edge.progress import Progress
from tests.train.protocol_people import people, shuffled
from train.protocols import drawn, llcm, market, mixed, regdb, report, sysu
from train.protocols.bootstrap import compare
from train.protocols.embeddings import Embeddings
from train.protocols.published import ROWS, beside
from train.protocols.rows import DRAWN, EUCLIDEAN, Row, over_models
from train.protocols.rules import OWN_CAMERA, OWN_ROOM, SAME_PERSON_SAME_CAMERA, SAME_PERSON_SAME_ROOM
from train.protocols.table import latex, markdown
from train.protocols.verification import verify

CROWD = shuffled(people(range(1, 13), (1, 2, 3, 4, 5, 6), 3, noise=1.1))
ROOT = Path(__file__).resolve().parents[2]
DASH = "\N{EN DASH}"
TWO_CAMERAS = people(range(12), (1, 2), 4, infrared=(2,))


def mean(found: list[Any], name: str) -> float:
    return 100 * float(np.mean([one.figures[name] for one in found]))


def lines(rows: list[Row]) -> list[tuple[str, str, str]]:
    return [(row.kind, row.setting, row.variant) for row in rows]


def test_sysu_has_both_modes_and_shots_both_conventions_and_reranking_each_on_its_own_line() -> None:
    rng = np.random.default_rng(0)
    orders = {(camera, identity): np.stack([rng.permutation(3) + 1 for _ in range(10)])
              for camera in (1, 2, 4, 5) for identity in range(1, 13)}
    rows = report.report("sysu", CROWD, permutations=orders, count=2, reranked=True, resamples=10)
    assert lines(rows) == [
        *(("search", f"{mode}, {shot}", variant) for mode in ("all", "indoor") for shot in ("single-shot", "multi-shot")
          for variant in ("", "re-ranked, hidden cameras apart", "official galleries",
                          "official galleries, re-ranked, hidden cameras apart")),
        ("search", "visible-mixed", ""), ("search", "infrared-mixed", ""),
        *(("verification", pair, "") for pair in ("visible-visible", "infrared-infrared", "visible-infrared"))]
    for row in rows[:16]:
        mode, shot = row.setting.split(", ")
        found = sysu.searches(CROWD, mode=mode, shot=sysu.SHOTS[shot], count=2,  # type: ignore[arg-type]
                              permutations=orders if "official" in row.variant else None,
                              reranked="re-ranked" in row.variant)
        assert row.figures["mean_ap"] == pytest.approx(mean(found, "mean_ap"))
        assert row.deviation["rank1"] == pytest.approx(100 * np.std([one.figures["rank1"] for one in found], ddof=1))
        assert row.over == "2 galleries"
    assert rows[16].figures["mean_ap"] == pytest.approx(
        mean(mixed.searches(CROWD, "visible", count=2, hidden=SAME_PERSON_SAME_ROOM), "mean_ap"))


def test_llcm_has_the_swapped_roles_under_their_own_name() -> None:
    rows = report.report("llcm", CROWD, count=2, kinds=["dataset", "mixed"])
    assert lines(rows) == [("search", setting, "") for setting in (
        "visible-infrared", "infrared-visible", "visible-infrared, roles swapped", "visible-mixed", "infrared-mixed")]
    for row, found in zip(rows, (llcm.searches(CROWD, "visible-infrared", count=2),
                                 llcm.searches(CROWD, "infrared-visible", count=2), llcm.role_swapped(CROWD, count=2),
                                 mixed.searches(CROWD, "visible", count=2, hidden=SAME_PERSON_SAME_CAMERA),
                                 mixed.searches(CROWD, "infrared", count=2)), strict=True):
        assert row.figures["mean_inp"] == pytest.approx(mean(found, "mean_inp"))


def test_regdb_is_one_split_in_both_directions_and_compares_pairs_across_alone() -> None:
    rows = report.report("regdb", TWO_CAMERAS, resamples=10, kinds=["dataset", "verification"])
    assert lines(rows) == [("search", "visible-infrared", ""), ("search", "infrared-visible", ""),
                           ("verification", "visible-infrared", "")]
    assert rows[0].figures["rank1"] == 100 * regdb.one_split(TWO_CAMERAS, "visible-infrared").figures["rank1"]
    assert not rows[0].deviation
    assert not rows[0].over
    assert rows[2].over.startswith("12 people")  # with number 0, who is nobody in Market-1501 alone


def test_market_is_one_search_and_its_distractors_are_nobody_to_compare() -> None:
    gallery = people(range(-1, 10), (1, 2, 3), 3, infrared=())
    query = people(range(1, 10), (1, 2), 1, infrared=())
    search, pairs = report.report("market", gallery, query=query, resamples=10)
    assert search.figures["rank1"] == 100 * market.single_query(query, gallery).figures["rank1"]
    known = verify(gallery.take(gallery.identity > 0), "visible-visible", resamples=10)
    assert pairs.over == f"9 people, {known.genuine} genuine and {known.impostor:,} impostor pairs"
    with pytest.raises(ValueError, match="market: expected queries beside the gallery, got none"):
        report.report("market", gallery)


def test_drawn_people_have_the_figures_of_a_first_look_and_own_pictures_hide_the_own_camera_alone() -> None:
    look = drawn.score(CROWD.embedding, CROWD, trials=3, seed=5)
    rows = report.report("drawn", CROWD, count=3, seed=5, kinds=["dataset"])
    assert [row.setting for row in rows] == list(look)
    for row in rows:
        for name, figure in look[row.setting].items():
            assert row.figures[name] == pytest.approx(figure, abs=0.005)
    own = report.report("folder", CROWD, count=3, kinds=["dataset"])
    across = drawn.searches(CROWD, "infrared-visible", count=3, hidden=OWN_CAMERA)
    assert own[2].figures["rank1"] == pytest.approx(mean(across, "rank1"))


def test_only_what_is_wanted_is_worked_out_and_what_cannot_be_is_refused() -> None:
    for kind, some in (("dataset", 2), ("mixed", 2), ("verification", 1)):
        kinds: list[report.Kind] = [kind]  # type: ignore[list-item]
        assert len(report.report("regdb", TWO_CAMERAS, kinds=kinds, resamples=0)) == some
    colour = CROWD.take(~CROWD.infrared)
    assert len(report.report("drawn", colour, count=1, resamples=0)) == 2  # a gallery of both has nothing to mix
    with pytest.raises(ValueError, match="pictures of both modalities for a mixed gallery, got one"):
        report.report("drawn", colour, kinds=["mixed"])
    with pytest.raises(ValueError, match="and somebody else, got no such pictures"):
        report.require(["verification"], "folder", CROWD.take(CROWD.camera == 1))
    with pytest.raises(ValueError, match="kinds: expected some of dataset, mixed, verification, got none"):
        report.report("drawn", CROWD, kinds=[])


def test_nobody_is_asked_for_who_cannot_be_found_again() -> None:
    # Everybody under one visible camera and one infrared one, no two alike: 1 with 3, and 2 with 3.
    rows = np.isin(CROWD.camera, (1, 3)) & (CROWD.identity < 6) | np.isin(CROWD.camera, (2, 3)) & (CROWD.identity > 6)
    crowd = CROWD.take(rows)
    assert drawn.searchable(crowd) == drawn.searchable(crowd, OWN_CAMERA) == ["infrared-visible", "visible-infrared"]
    room = crowd.take(crowd.identity > 6)
    assert drawn.searchable(room, OWN_CAMERA) == ["infrared-visible", "visible-infrared"]
    assert drawn.searchable(room, OWN_ROOM) == []
    assert [row.setting for row in report.report("folder", crowd, count=1, resamples=0)] == [
        "infrared-visible", "visible-infrared", "visible-mixed", "infrared-mixed", "visible-infrared"]
    with pytest.raises(ValueError, match="somebody else, got no such"):
        report.require(["verification"], "folder", crowd.take(crowd.identity == 7))


def test_a_gallery_of_one_person_is_refused_as_everybody_would_be_found_in_it() -> None:
    alone = CROWD.take((CROWD.identity == 7) | CROWD.infrared)
    with pytest.raises(ValueError, match="gallery: expected at least two people, whom a search could confuse, got one"):
        regdb.one_split(alone, "infrared-visible")
    assert drawn.searchable(alone) == ["infrared-infrared", "visible-infrared"]
    with pytest.raises(ValueError, match="expected somebody else in the gallery, and"):
        report.report("folder", CROWD.take(CROWD.identity == 7), count=1, kinds=["dataset"])


def test_a_line_says_that_embeddings_were_compared_by_their_distance() -> None:
    gallery, query = (people(range(1, 10), cameras, 1, infrared=()) for cameras in ((1, 2, 3), (1, 2)))
    longer = [replace(some, embedding=some.embedding * np.linspace(1, 3, len(some), dtype=np.float32)[:, None])
              for some in (gallery, query)]
    rows = report.report("market", longer[0], query=longer[1], metric="euclidean", reranked=True, resamples=5)
    assert [row.variant for row in rows] == [EUCLIDEAN, f"{EUCLIDEAN}, re-ranked", EUCLIDEAN]
    found = market.single_query(longer[1], longer[0], metric="euclidean")
    assert rows[0].figures["mean_ap"] == 100 * found.figures["mean_ap"]


def test_verification_carries_its_interval() -> None:
    row = report.report("drawn", CROWD, count=1, resamples=50)[-1]
    assert (row.kind, row.setting) == ("verification", "visible-infrared")
    low, high = row.interval["eer"]
    assert low < row.figures["eer"] < high
    assert "12 people" in row.over


def test_a_long_report_says_what_it_is_at() -> None:
    told: list[tuple[int, int, str]] = []
    report.report("regdb", TWO_CAMERAS, resamples=0, progress=lambda *step: told.append(step))
    assert [step[0] for step in told] == list(range(6))
    assert {step[1] for step in told} == {5}
    assert told[0][2] == "visible-infrared"
    with Progress("lines", io.StringIO()) as progress:
        report.report("regdb", TWO_CAMERAS, resamples=0, progress=progress)


def test_two_systems_rows_can_be_compared_query_by_query() -> None:
    blurred = people(range(1, 13), (1, 2, 3, 4, 5, 6), 3, noise=2.5)
    better, worse = (report.report("sysu", crowd, count=2, kinds=["dataset"])[0]
                     for crowd in (shuffled(CROWD, 1), blurred))
    assert better.queries is not None
    assert worse.queries is not None
    found = compare(better.queries, worse.queries)["rank1"]
    assert found.value == pytest.approx((better.figures["rank1"] - worse.figures["rank1"]) / 100)
    assert found.low > 0


def test_models_are_averaged_by_their_means_and_deviate_between_models() -> None:
    splits = [report.report("regdb", people(range(12), (1, 2), 4, infrared=(2,), noise=1.6, seed=seed), resamples=5)
              for seed in range(3)]
    merged = over_models(splits, "splits")
    values = [rows[0].figures["mean_ap"] for rows in splits]
    assert merged[0].figures["mean_ap"] == pytest.approx(np.mean(values))
    assert merged[0].deviation["mean_ap"] == pytest.approx(np.std(values, ddof=1))
    assert [row.over for row in merged[:3]] == ["3 splits", "3 splits", "3 splits, of 10 galleries each"]
    assert not merged[-1].interval
    assert over_models(splits[:1], "splits") == splits[0]
    twice = over_models([merged, merged], "seeds")
    assert [row.over for row in twice[:3]] == ["2 seeds, of 3 splits each", "2 seeds, of 3 splits each",
                                               "2 seeds, of 3 splits, of 10 galleries each"]
    with pytest.raises(ValueError, match="splits: expected the same rows in each report, got a difference in"):
        over_models([splits[0], splits[1][:-1]], "splits")
    with pytest.raises(ValueError, match="reports of seeds to average, got none"):
        over_models([], "seeds")


def test_a_row_survives_being_written_down() -> None:
    for row in [*report.report("regdb", TWO_CAMERAS, resamples=5), *ROWS]:
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_published_rows_stand_behind_ours_of_the_same_setting_and_only_there() -> None:
    rows = beside(report.report("sysu", CROWD, count=1, reranked=True, resamples=5))
    single = [row for row in rows if row.setting == "all, single-shot"]
    assert [(row.system, row.variant) for row in single[:3]] == [
        ("ours", ""), ("ours", "re-ranked, hidden cameras apart"), ("CM-NAS", "")]
    assert {"AGW", "CAJ", "CM-NAS, retrained by outsiders", "ResNet-50 baseline, 2026"} <= {
        row.system for row in single}
    assert all(not row.source for row in rows if row.kind == "verification")
    assert beside(report.report("drawn", CROWD, count=1, resamples=5))[-1].system == "ours"
    ours = Row("market", "single query", "imported", {"rank1": 90.0})
    assert [row.system for row in beside([ours], "osnet_x0_25")] == ["imported", "osnet_x0_25", "osnet_x0_25"]
    assert [row.note for row in beside([ours], "resnet50")[1:]] == ["last stride 2", "last stride 1",
                                                                    "trained on MSMT17 alone"]
    assert {row.variant for row in beside([ours])[1:]} == {EUCLIDEAN}
    assert beside([replace(ours, note=DRAWN)]) == [replace(ours, note=DRAWN)]
    assert len(beside([ours])) > 5


def test_what_others_published_of_searches_does_not_stand_behind_error_rates_of_the_same_modalities() -> None:
    rows = beside(report.report("regdb", TWO_CAMERAS, resamples=5, kinds=["dataset", "verification"]))
    assert [row.system for row in rows if row.setting == "visible-infrared"].count("AGW") == 1
    assert (rows[-1].kind, rows[-1].system) == ("verification", "ours")


def test_protocols_need_neither_torch_nor_scipy() -> None:
    program = ("import sys; sys.modules.update(torch=None, scipy=None); "
               "import train.protocols.report, train.protocols.published, train.protocols.table, "
               "train.protocols.bootstrap")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_every_published_row_has_a_source_a_known_protocol_and_shares() -> None:
    for row in ROWS:
        assert row.source
        assert row.dataset in report.PROTOCOLS
        assert all(0 < value < 100 for value in row.figures.values())
        assert row.figures or row.interval


ROW = Row("sysu", "all, single-shot", "ours_1", {"rank1": 61.234, "mean_ap": 60.0}, "re-ranked",
          deviation={"rank1": 0.456}, over="10 galleries")


def test_a_markdown_table_shows_mean_deviation_range_and_gain_and_a_dash_for_nothing() -> None:
    text = markdown(beside([ROW]))
    table = text.splitlines()
    assert table[:3] == ["**SYSU-MM01: who is it?**", "",
                         "| setting | system | rank-1 | mAP | mINP | mean over | source |"]
    assert table[4] == (f"| all, single-shot | ours_1 (re-ranked) | 61.23 ± 0.46 | 60.00 | {DASH} | 10 galleries | "
                        "this run |")
    assert any("CM-NAS, gain it claims over the best before | +6.70 | +6.13" in line for line in table)
    assert any(f"retrained by outsiders | 52.60{DASH}56.00 | {DASH} |" in line for line in table)
    assert {line.count("|") for line in table[2:]} == {8}


def test_verification_has_a_table_of_its_own_with_intervals() -> None:
    text = markdown([ROW, Row("sysu", "visible-infrared", "ours", {"eer": 12.5, "tmr@0.01": 50}, kind="verification",
                              interval={"eer": (10, 15)})])
    assert "**SYSU-MM01: is it the same person?**\n\n| setting | system | EER | TMR at FMR 0.01 |" in text
    assert f"| 12.50 [10.00{DASH}15.00] | 50.00 |" in text


def test_latex_has_the_same_cells_and_escapes_what_latex_would_take_for_its_own() -> None:
    odd = replace(ROW, system="50% of a_b & c~d^e\\f{g}#$")
    text = latex([odd])
    assert (r"all, single-shot & 50\% of a\_b \& c\textasciitilde{}d\textasciicircum{}e\textbackslash{}f\{g\}\#\$ "
            r"(re-ranked) & 61.23 $\pm$ 0.46 & 60.00 & 10 galleries & this run \\") in text
    assert r"\begin{tabular}{llrrll}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert "52.60--56.00" in latex(beside([ROW]))


@pytest.mark.parametrize(("name", "changed", "said"), [
    ("sysu-mm01", {}, "protocol: expected one of sysu, regdb, llcm, market, drawn, folder, got sysu-mm01"),
    ("sysu", {"count": 0}, "count: expected at least 1 gallery, got 0"),
    ("drawn", {"test": CROWD.take(CROWD.camera == 1)}, "two cameras that may be compared, got nobody"),
    ("sysu", {"test": CROWD.take(CROWD.camera == 3)}, "expected visible pictures"),
    ("sysu", {"test": CROWD.take((CROWD.infrared & (CROWD.identity < 5)) | (~CROWD.infrared & (CROWD.identity > 5)))},
     "^expected at least one query with a match in the gallery, got none"),
    ("sysu", {"test": Embeddings(CROWD.embedding, CROWD.identity, CROWD.camera, CROWD.infrared)}, "name: expected"),
])
def test_a_report_that_cannot_be_made_says_why_in_one_line(name: str, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        report.report(name, **({"test": CROWD, "resamples": 0} | changed))
    assert "\n" not in str(caught.value)
