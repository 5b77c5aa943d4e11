"""A table comes from jobs that follow each other, are never done twice, and leave what they made when one fails."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from train import reproduce, tables
from train.__main__ import main
from train.data.drawn import Drawn
from train.published import COLUMNS, PUBLISHED, Line
from train.recipe import Recipe
from train.reproduce import Plan, carry_out, figures, plan
from train.search.recipe import SearchRecipe
from train.sources import Regdb, Sysu

PEOPLE = Drawn(identities=4, cameras=(1, 3), per_camera=2)
OTHERS = Drawn(identities=3, first_identity=90, cameras=(1, 3), per_camera=1)
RECIPE = Recipe(backbone="osnet_x0_25", norms="split", height=32, width=16, steps=1, identities_per_batch=2,
                crops_per_modality=1, train=PEOPLE)
SEARCH = SearchRecipe(backbone="osnet_x0_25", height=32, width=16, steps=2, identities_per_batch=2,
                      crops_per_modality=1, train=PEOPLE, validation=OTHERS)


class Told:
    """A runner that notes what it is asked to do, and does what a job would leave."""

    def __init__(self, *, fail: str = "", wait: threading.Barrier | None = None) -> None:
        self.ran: list[tuple[str, str]] = []
        self.places: list[str] = []
        self._fail, self._wait = fail, wait

    def __call__(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        self.ran.append((log.parent.name, words[0]))
        self.places.append(env.get("CUDA_VISIBLE_DEVICES", ""))
        if self._wait is not None and words[0] == "fit":
            self._wait.wait(60)
        if self._fail and self._fail in (words[0], log.parent.name):
            log.write_text("step 3: starting\npython -m train fit: it was not to be\n")
            return 78
        if "--json" in words:
            line = Line("SYSU-MM01 all single-shot", dict.fromkeys(COLUMNS, float(len(self.ran))), {}, 10)
            Path(words[words.index("--json") + 1]).write_text(json.dumps([line._asdict()]))
        return 0


def tiny(folder: Path, **how: object) -> Plan:
    return plan(RECIPE, SEARCH, folder, **how)  # type: ignore[arg-type]


def test_each_scheme_and_seed_is_one_line_of_work_and_only_the_searched_one_searches(tmp_path: Path) -> None:
    told = Told()
    carry_out(tiny(tmp_path, seeds=2, schemes=("searched", "shared")), out=io.StringIO(), runner=told)
    assert sorted(told.ran) == sorted(
        [(f"searched_0_{seed}", verb) for seed in (0, 1) for verb in ("search", "fit", "evaluate")]
        + [(f"shared_0_{seed}", verb) for seed in (0, 1) for verb in ("fit", "evaluate")])
    kept = config.load(tmp_path / "shared_0_1" / "recipe.toml", Recipe)
    assert (kept.norms, kept.seed) == ("shared", 1)
    assert config.load(tmp_path / "searched_0_1" / "search.toml", SearchRecipe).seed == 1


def test_what_is_done_is_not_done_again_unless_it_was_another_command(tmp_path: Path) -> None:
    first, second, third = Told(fail="evaluate"), Told(), Told()
    with pytest.raises(ConfigError, match=r"found exit code 78: .*it was not to be; see .*log, then"):
        carry_out(tiny(tmp_path), out=io.StringIO(), runner=first)
    assert [verb for _, verb in first.ran] == ["search", "fit", "evaluate"]
    carry_out(tiny(tmp_path), out=io.StringIO(), runner=second)
    assert [verb for _, verb in second.ran] == ["evaluate"]
    carry_out(tiny(tmp_path, device="cpu"), out=io.StringIO(), runner=third)
    assert [verb for _, verb in third.ran] == ["search", "fit", "evaluate"]


def test_lines_of_work_spread_over_the_gpus(tmp_path: Path) -> None:
    # Both first fits wait for each other: one GPU after the other would wait for ever.
    told = Told(wait=threading.Barrier(2))
    carry_out(tiny(tmp_path, seeds=4, schemes=("shared",)), gpus=(0, 1), out=io.StringIO(), runner=told)
    assert len(told.ran) == 8
    assert set(told.places) == {"0", "1"}


def test_a_line_that_fails_lets_the_others_end_their_job_and_no_more(tmp_path: Path) -> None:
    told = Told(fail="shared_0_0")
    began = time.monotonic()
    with pytest.raises(ConfigError, match="shared_0_0"):
        carry_out(tiny(tmp_path, seeds=9, schemes=("shared",)), out=io.StringIO(), runner=told)
    assert told.ran == [("shared_0_0", "fit")]
    assert time.monotonic() - began < 60


def test_ctrl_c_in_a_job_ends_it_all(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carry_out(tiny(tmp_path), out=io.StringIO(), runner=lambda *_: 130)
    assert not list(tmp_path.glob("*/*.done"))


def test_regdb_is_searched_and_trained_on_every_split_without_the_others(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(RECIPE, train=Regdb(part="trainval"))
    done = plan(recipe, SEARCH, tmp_path, root=tmp_path)
    assert [work.split for work in done.work] == list(range(1, 11))
    for work in done.work:
        search = config.load(work.folder / "search.toml", SearchRecipe)
        assert (search.train, search.validation) == (Regdb(trial=work.split), Regdb("validation", trial=work.split))
        assert config.load(work.folder / "recipe.toml", Recipe).train == Regdb("trainval", trial=work.split)
        assert work.jobs[-1].words[-4:-2] == ("--trial", str(work.split))


def test_a_recipe_with_validation_people_chooses_on_them_and_then_learns_from_all(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(RECIPE, train=Sysu(), validation=Sysu("validation"))
    (work,) = plan(recipe, SEARCH, tmp_path, schemes=("shared",), root=tmp_path).work
    assert [job.name for job in work.jobs] == ["choose", "fit", "evaluate"]
    final = work.jobs[1].words
    assert final[final.index("--final") + 1] == str(work.folder / "choose")
    with pytest.raises(ConfigError, match="add --data ROOT"):
        plan(recipe, SEARCH, tmp_path)
    with pytest.raises(ConfigError, match="recipes of one backbone"):
        plan(msgspec.structs.replace(RECIPE, backbone="resnet50"), SEARCH, tmp_path)


def test_a_table_has_mean_and_deviation_over_runs_and_the_published_rows(tmp_path: Path) -> None:
    done = tiny(tmp_path, seeds=3, schemes=("shared",))
    carry_out(done, out=io.StringIO(), runner=Told())
    found = figures(done)
    values = [line.figures["rank1"] for line in found["shared", "SYSU-MM01 all single-shot", ""]]
    assert len(values) == 3
    shown = tables.markdown(found)
    cell = f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
    assert f"| ours, shared | {cell} |" in shown
    assert "| CM-NAS (ICCV 2021), gain it claims | +6.70 |  |  | +6.13 |  | published |" in shown
    assert all(f"| {row.who} |" in shown for row in PUBLISHED["SYSU-MM01 all single-shot"])
    paper = tables.latex(found)
    assert f"ours, shared & {cell}".replace("±", r"$\pm$") in paper
    assert paper.count(r"\begin{tabular}") == paper.count(r"\end{tabular}") == 1
    rows = [line for line in paper.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {len(COLUMNS) + 1}


def test_the_command_searches_trains_and_scores_and_then_has_nothing_left_to_do(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text(config.show(RECIPE))
    (tmp_path / "s.toml").write_text(config.show(SEARCH))
    ran = []

    def here(words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        ran.append(words[0])
        more = ("--identities", "3", "--per-camera", "1") if words[0] == "evaluate" else ()
        return main([*words, *more])

    monkeypatch.setattr(reproduce, "_in_a_process", here)
    words = ["reproduce", "drawn", "--out", str(tmp_path / "out"), "--recipe", str(tmp_path / "r.toml"), "--search",
             str(tmp_path / "s.toml"), "--device", "cpu"]
    assert main(words) == 0
    assert ran == ["search", "fit", "evaluate"]
    shown = capsys.readouterr().out
    assert "**drawn people, single-shot infrared-visible**" in shown
    assert (tmp_path / "out" / "table.md").read_text() in shown
    assert r"\begin{tabular}" in (tmp_path / "out" / "table.tex").read_text()
    assert main(words) == 0
    assert len(ran) == 3
    assert main([*words[:4], "--seeds", "0"]) == 78
    assert main(["reproduce", "sysu", "--out", str(tmp_path / "x")]) == 78
