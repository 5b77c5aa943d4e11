"""A run's folder goes back to its last saved state, log included."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from train.data.drawn import Drawn
from train.fit.recipe import Recipe
from train.fit.run import Run

RECIPE = Recipe(backbone="osnet_x0_25", norms="split", steps=9, train=Drawn(identities=2),
                validation=Drawn(identities=2, first_identity=5))


def test_rows_written_after_the_saved_state_are_taken_back(tmp_path: Path) -> None:
    run = Run(tmp_path, RECIPE)
    assert run.resume() is None
    for step in (1, 2, 3):
        run.note({"step": step})
        if step == 2:
            run.save({"step": step})
    again = Run(tmp_path, RECIPE)
    assert again.resume() == {"step": 2}
    assert again.rows() == [{"step": 1}, {"step": 2}]


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path, RECIPE)
    run.note({"step": 1})
    run.save({"step": 1})
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(b'{"step":1,"los')
    again = Run(tmp_path, RECIPE)
    again.resume()
    again.note({"step": 2})
    assert again.rows() == [{"step": 1}, {"step": 2}]


def test_a_log_without_a_state_starts_over(tmp_path: Path) -> None:
    run = Run(tmp_path, RECIPE)
    run.note({"step": 1})
    assert Run(tmp_path, RECIPE).resume() is None
    assert run.rows() == []


def test_a_state_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    run = Run(tmp_path, RECIPE)
    run.save({"step": 4})
    (tmp_path / "state.pt.part").write_bytes(b"half of the next one")
    assert Run(tmp_path, RECIPE).resume() == {"step": 4}


def test_a_run_goes_on_though_the_checkpoint_it_started_from_lies_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here.safetensors", tmp_path / "moved" / "there.safetensors"
    there.parent.mkdir()
    here.write_bytes(b"weights")
    there.write_bytes(b"weights")
    started = msgspec.structs.replace(RECIPE, start=here)
    Run(tmp_path / "run", started).save({"step": 3})
    assert str(tmp_path) not in (tmp_path / "run" / "recipe.toml").read_text()
    moved = msgspec.structs.replace(RECIPE, start=there)
    assert Run(tmp_path / "run", moved).resume() == {"step": 3}
    there.write_bytes(b"other weights")
    with pytest.raises(ConfigError, match="another one"):
        Run(tmp_path / "run", moved)
    there.unlink()
    with pytest.raises(ConfigError, match=r"there\.safetensors"):
        Run(tmp_path / "run", moved)


def test_a_run_that_noted_the_path_of_its_start_goes_on(tmp_path: Path) -> None:
    (tmp_path / "here.safetensors").write_bytes(b"weights")
    started = msgspec.structs.replace(RECIPE, start=tmp_path / "here.safetensors")
    Run(tmp_path / "run", started).save({"step": 3})
    (tmp_path / "run" / "recipe.toml").write_text(config.show(started))
    assert Run(tmp_path / "run", started).resume() == {"step": 3}


def test_a_recipe_that_failed_before_its_first_state_is_in_nobodys_way(tmp_path: Path) -> None:
    Run(tmp_path, RECIPE).note({"step": 1})
    Run(tmp_path, msgspec.structs.replace(RECIPE, seed=4)).save({"step": 1})
    with pytest.raises(ConfigError, match="another one"):
        Run(tmp_path, RECIPE)
    with pytest.raises(ConfigError, match="another one"):
        Run(tmp_path, RECIPE, writes=False)


def test_a_run_that_version_0_1_0_began_goes_on(tmp_path: Path) -> None:
    # Its recipes named no dataset, and had none of the keys that came since.
    Run(tmp_path, RECIPE).save({"step": 3})
    (tmp_path / "recipe.toml").write_text(
        'backbone = "osnet_x0_25"\nnorms = "split"\nsteps = 9\n\n[train]\nidentities = 2\n\n'
        '[validation]\nidentities = 2\nfirst_identity = 5\n\n[optimiser]\nkind = "adamw"\naverage = 0.998\n')
    assert Run(tmp_path, RECIPE).resume() == {"step": 3}
    with pytest.raises(ConfigError, match="another one"):
        Run(tmp_path, msgspec.structs.replace(RECIPE, steps=8))


def test_an_arch_is_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text("{}")
    recipe = msgspec.structs.replace(RECIPE, norms=None, arch=tmp_path / "arch.json")
    Run(tmp_path / "run", recipe).save({"step": 1})
    (tmp_path / "arch.json").write_text("{ }")
    with pytest.raises(ConfigError, match="another one"):
        Run(tmp_path / "run", recipe)
    (tmp_path / "arch.json").unlink()
    with pytest.raises(ConfigError, match=r"arch\.json: expected an arch file"):
        Run(tmp_path / "run", recipe)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seed": 1}', '{"data": 3}', "\udcff"])
def test_a_damaged_note_of_where_a_run_comes_from_is_one_sentence(tmp_path: Path, text: str) -> None:
    run = Run(tmp_path, RECIPE)
    run.save({"step": 1})
    damaged = text.encode("utf-8", "surrogateescape")
    (tmp_path / "run.json").write_bytes(damaged)
    with pytest.raises(ConfigError, match=r"run\.json: expected .* found something else; .*start over") as caught:
        run.sign({"data": "x" * 64})
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run.json").read_bytes() == damaged


@pytest.mark.parametrize("line", [b"", b"{", b"\0\0\xff", b"[2]", b"{}", b'{"step": "2"}'])
def test_a_damaged_line_of_a_log_is_one_sentence_with_its_number(tmp_path: Path, line: bytes) -> None:
    run = Run(tmp_path, RECIPE)
    run.note({"step": 1})
    run.save({"step": 1})
    damaged = (tmp_path / "log.jsonl").read_bytes() + line + b"\n"
    (tmp_path / "log.jsonl").write_bytes(damaged)
    for read in (run.rows, run.resume):
        with pytest.raises(ConfigError, match=r"log\.jsonl:2: expected .* found something else; delete this line"):
            read()
    assert (tmp_path / "log.jsonl").read_bytes() == damaged


def test_a_recipe_that_is_no_text_is_another_one(tmp_path: Path) -> None:
    Run(tmp_path, RECIPE).save({"step": 1})
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="another one"):
        Run(tmp_path, RECIPE)
