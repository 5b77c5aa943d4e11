"""A table comes from jobs that follow each other, are never done twice, and leave what they made when one fails."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from train.__main__ import main
from train.data.drawn import Drawn
from train.fit.recipe import Recipe
from train.fit.run import Run
from train.fit.sources import Regdb, Sysu
from train.protocols.rows import Row
from train.reproduce import work as doing
from train.reproduce.figures import figures
from train.reproduce.plan import Plan, plan
from train.reproduce.work import carry_out
from train.search.recipe import SearchRecipe

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
            row = Row("sysu", "all, single-shot", "run", {"rank1": float(len(self.ran)), "mean_ap": 9.0},
                      over="10 galleries")
            Path(words[words.index("--json") + 1]).write_text(json.dumps([row.to_json()]))
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


def test_a_table_has_mean_and_deviation_over_seeds_and_the_published_rows(tmp_path: Path) -> None:
    done = tiny(tmp_path, seeds=3, schemes=("shared", "split"))
    assert figures(done) == []
    carry_out(done, out=io.StringIO(), runner=Told())
    one, other = figures(done)
    values = [json.loads((work.folder / "figures.json").read_text())[0]["figures"]["rank1"]
              for work in done.work if work.scheme == "shared"]
    assert len(set(values)) == 3
    assert (one.system, other.system, one.over) == ("shared", "split", "3 seeds, of 10 galleries each")
    assert one.figures["rank1"] == pytest.approx(np.mean(values))
    assert one.deviation["rank1"] == pytest.approx(np.std(values, ddof=1))


def test_regdb_is_the_mean_of_ten_models_and_seeds_are_means_of_those(tmp_path: Path) -> None:
    recipe = msgspec.structs.replace(RECIPE, train=Regdb(part="trainval"))
    done = plan(recipe, SEARCH, tmp_path, root=tmp_path, seeds=2, schemes=("shared",))
    rng = np.random.default_rng(0)
    values = {(seed, split): float(rng.uniform(50, 60)) for seed in (0, 1) for split in range(1, 11)}
    for work in done.work:
        work.folder.mkdir(exist_ok=True)
        row = Row("regdb", "visible-infrared", "run", {"rank1": values[work.seed, work.split]})
        (work.folder / "figures.json").write_text(json.dumps([row.to_json()]))
    (row,) = figures(done)
    means = [np.mean([values[seed, split] for split in range(1, 11)]) for seed in (0, 1)]
    assert row.over == "2 seeds, of 10 splits each"
    assert row.deviation["rank1"] == pytest.approx(np.std(means, ddof=1))
    # While splits of a seed are still missing, no seed counts more than another for each of its splits.
    lost = next(work for work in done.work if (work.seed, work.split) == (1, 4))
    (lost.folder / "figures.json").unlink()
    (row,) = figures(done)
    assert row.over == "19 models"
    assert row.figures["rank1"] == pytest.approx(np.mean([v for key, v in values.items() if key != (1, 4)]))


@pytest.mark.parametrize("text", ["", "{}x", "[1]", '[{"protocol": "RegDB"}]', '{"a": 1}'])
def test_figures_of_another_making_are_one_sentence(tmp_path: Path, text: str) -> None:
    done = tiny(tmp_path, seeds=2, schemes=("shared",))
    carry_out(done, out=io.StringIO(), runner=Told())
    path = tmp_path / "shared_0_1" / "figures.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"figures\.json: expected figures as .* found others; delete it") as caught:
        figures(done)
    assert "\n" not in str(caught.value)
    path.write_text(json.dumps([Row("regdb", "visible-infrared", "run", {"rank1": 3.0}).to_json()]))
    with pytest.raises(ConfigError, match=r"seeds: expected the same rows .* delete the evaluate\.done"):
        figures(done)


def test_the_command_searches_trains_and_scores_and_then_has_nothing_left_to_do(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text(config.show(RECIPE))
    (tmp_path / "s.toml").write_text(config.show(SEARCH))
    ran = []

    def here(words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        ran.append(words[0])
        more = ("--identities", "3", "--per-camera", "1") if words[0] == "evaluate" else ()
        return main([*words, *more])

    monkeypatch.setattr(doing, "_in_a_process", here)
    words = ["reproduce", "drawn", "--out", str(tmp_path / "out"), "--recipe", str(tmp_path / "r.toml"), "--search",
             str(tmp_path / "s.toml"), "--device", "cpu"]
    assert main(words) == 0
    assert ran == ["search", "fit", "evaluate"]
    shown = capsys.readouterr().out
    assert "| infrared-visible | searched |" in shown
    assert "| infrared-visible | searched (re-ranked, hidden cameras apart) |" in shown
    assert "| visible-mixed | searched |" in shown
    assert (tmp_path / "out" / "table.md").read_text() in shown
    assert r"\begin{tabular}" in (tmp_path / "out" / "table.tex").read_text()
    assert main(words) == 0
    assert len(ran) == 3
    assert main([*words[:4], "--seeds", "0"]) == 78
    assert main(["reproduce", "sysu", "--out", str(tmp_path / "x")]) == 78


def test_published_rows_stand_behind_ours_in_the_table(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text(config.show(msgspec.structs.replace(RECIPE, train=Sysu())))
    monkeypatch.setattr(doing, "_in_a_process", Told())
    assert main(["reproduce", "sysu", "--out", str(tmp_path / "out"), "--recipe", str(tmp_path / "r.toml"), "--data",
                 str(tmp_path), "--device", "cpu", "--schemes", "split", "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "| all, single-shot | split | 3.00 ± 1.41 | 9.00 ± 0.00 |" in shown
    assert "| all, single-shot | CM-NAS | 61.99 | 60.02 |" in shown
    assert "CM-NAS, retrained by outsiders" in (tmp_path / "out" / "table.tex").read_text()


@pytest.mark.parametrize("change", ["recipe", "search", "start", "weights"])
def test_another_recipe_is_refused_before_anything_of_a_finished_folder_changes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str) -> None:
    for name in ("w.safetensors", "v.safetensors"):
        (tmp_path / name).write_bytes(b"weights of " + name.encode())
    (tmp_path / "r.toml").write_text(config.show(RECIPE))
    (tmp_path / "s.toml").write_text(config.show(SEARCH))
    out = tmp_path / "out"
    words = ["reproduce", "drawn", "--out", str(out), "--recipe", str(tmp_path / "r.toml"), "--search",
             str(tmp_path / "s.toml"), "--device", "cpu", "--start", str(tmp_path / "w.safetensors")]

    class Trains(Told):
        def __call__(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
            if words[0] == "fit":
                Run(log.parent / "run", config.load(Path(words[1]), Recipe)).save({"step": 1})
            return super().__call__(words, env, log)

    monkeypatch.setattr(doing, "_in_a_process", Trains())
    assert main(words) == 0
    if change == "recipe":
        (tmp_path / "r.toml").write_text(config.show(msgspec.structs.replace(RECIPE, steps=2)))
    elif change == "search":
        (tmp_path / "s.toml").write_text(config.show(msgspec.structs.replace(SEARCH, steps=3)))
    elif change == "start":
        words[-1] = str(tmp_path / "v.safetensors")
    else:
        (tmp_path / "w.safetensors").write_bytes(b"other weights under the old name")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = Told()
    monkeypatch.setattr(doing, "_in_a_process", again)
    capsys.readouterr()
    assert main([*words, "--seeds", "2"]) == 78  # nor is the line of the second seed begun
    shown = capsys.readouterr()
    assert (shown.out, again.ran) == ("", [])
    assert "expected the recipe" in shown.err
    assert "choose another --out" in shown.err
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_recipe_of_which_nothing_was_begun_can_be_corrected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        carry_out(tiny(tmp_path), out=io.StringIO(), runner=Told(fail="search"))
    longer = plan(RECIPE, msgspec.structs.replace(SEARCH, steps=5), tmp_path)
    carry_out(longer, out=io.StringIO(), runner=Told())
    assert config.load(tmp_path / "searched_0_0" / "search.toml", SearchRecipe).steps == 5


def test_weights_that_are_not_there_are_missed_before_anything_is_written(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["reproduce", "sysu", "--out", str(out), "--data", str(tmp_path), "--device", "cpu", "--start",
                 str(tmp_path / "none.pth")]) == 78
    assert "none.pth: expected the weights that the recipe begins with, found no such file; give" in (
        capsys.readouterr().err)
    assert not out.exists()


def test_weights_to_start_from_may_lie_elsewhere_by_now(tmp_path: Path) -> None:
    here, there = tmp_path / "here.safetensors", tmp_path / "there.safetensors"
    here.write_bytes(b"weights")
    started = msgspec.structs.replace(RECIPE, start=here)
    (work,) = plan(started, SEARCH, tmp_path / "out", schemes=("split",)).work
    Run(work.folder / "run", config.load(work.folder / "recipe.toml", Recipe)).save({"step": 1})
    here.rename(there)
    plan(msgspec.structs.replace(RECIPE, start=there), SEARCH, tmp_path / "out", schemes=("split",))
    assert config.load(work.folder / "recipe.toml", Recipe).start == there


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("what", ["recipe.part", "fit.part", "fit.log", "table.md"])
def test_a_full_disk_is_worth_waiting_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str], what: str, code: int) -> None:
    (tmp_path / "r.toml").write_text(config.show(RECIPE))
    words = ["reproduce", "drawn", "--out", str(tmp_path / "out"), "--recipe", str(tmp_path / "r.toml"), "--device",
             "cpu", "--schemes", "split"]
    def unless(write: Callable[..., object]) -> Callable[..., object]:
        def full(path: Path, *args: object, **how: object) -> object:
            if path.name == what:
                raise OSError(code, os.strerror(code))
            return write(path, *args, **how)
        return full

    def here(words: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        with log.open("ab"):
            return told(words, env, log)

    told = Told()
    with monkeypatch.context() as disk:
        disk.setattr(doing, "_in_a_process", here)
        disk.setattr(Path, "open", unless(Path.open))
        disk.setattr(Path, "write_text", unless(Path.write_text))
        assert main(words) == 75
    monkeypatch.setattr(doing, "_in_a_process", told)
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if "full disk; free some space" in line] == shown[-1:]
    assert main(words) == 0  # once there is room


def test_a_job_that_may_end_well_later_ends_it_all_like_itself(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.toml").write_text(config.show(RECIPE))
    monkeypatch.setattr(doing, "_in_a_process", lambda *_: 75)
    assert main(["reproduce", "drawn", "--out", str(tmp_path / "out"), "--recipe", str(tmp_path / "r.toml"),
                 "--device", "cpu", "--schemes", "split"]) == 75


def test_ctrl_c_says_the_command_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text(config.show(RECIPE))
    (tmp_path / "s.toml").write_text(config.show(SEARCH))
    (tmp_path / "w").write_bytes(b"")
    given = ["reproduce", "drawn", "--out", str(tmp_path / "my tables"), "--data", str(tmp_path / "a b"), "--seeds",
             "2", "--schemes", "searched", "split", "--recipe", str(tmp_path / "r.toml"), "--search",
             str(tmp_path / "s.toml"), "--start", str(tmp_path / "w"), "--device", "cpu"]
    monkeypatch.setattr(doing, "_in_a_process", lambda *_: 130)
    assert main(given) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("stopped; go on with: python -m train reproduce drawn ")
    words = shlex.split(last.partition("with: ")[2])
    assert words[3:] == given
    told = Told()
    monkeypatch.setattr(doing, "_in_a_process", told)
    assert main(words[3:]) == 0
    assert len(told.ran) == 10
