"""A search goes on exactly where it stopped, decides by its preference, and says why it cannot."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from cmnas_edge import config
from cmnas_edge.errors import BundleError, CmnasError, ConfigError
from train.__main__ import main
from train.data.crops import Crops
from train.data.drawn import Drawn, draw
from train.evaluate import embed, score
from train.fit.optimisers import Optimiser
from train.fit.schedule import Curriculum
from train.losses.objective import Losses
from train.networks import checkpoint
from train.networks.build import build
from train.networks.cost import bytes_of
from train.networks.design import Design
from train.networks.modality_bn import ModalityBatchNorm
from train.networks.space import CHOICES, Arch, site_names
from train.search import searching
from train.search.bilevel import Searcher
from train.search.derive import decide, recalibrate, score_arch_in_supernet, weigh
from train.search.levels import hold_out
from train.search.recipe import Cost, HeldOut, Preference, SearchRecipe
from train.search.searching import search
from train.search.supernet import Supernet

ROOT = Path(__file__).resolve().parents[2]
TINY = SearchRecipe(
    backbone="osnet_x0_25", by="stage", height=32, width=16, seed=3, steps=6, identities_per_batch=2,
    crops_per_modality=2, train=Drawn(identities=4, cameras=(1, 3), per_camera=4),
    validation=Drawn(identities=3, first_identity=90, cameras=(1, 2, 3), per_camera=1), evaluate_every=3,
    checkpoint_every=2, recalibrate=2, curriculum=Curriculum(identities=3, hold=2, grow=2),
    preference=Preference(every=2, warm_up=1, rate=0.1), cost=Cost(price=0.1),
    optimiser=Optimiser(rate=1e-3, warm_up=2))


def varied(**changes: Any) -> SearchRecipe:
    return msgspec.structs.replace(TINY, **changes)


def state(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True)
    return found


def same(a: Any, b: Any) -> bool:
    """Bit for bit, through dicts and lists of tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def figures(folder: Path) -> list[dict[str, Any]]:
    rows = [msgspec.json.decode(line) for line in (folder / "log.jsonl").read_bytes().splitlines()]
    return [{key: value for key, value in row.items() if key != "minutes"} for row in rows]


@pytest.fixture(scope="module")
def crops() -> Crops:
    assert isinstance(TINY.train, Drawn)
    return draw(TINY.train, TINY.height, TINY.width)


def alone(folder: Path, stop_at: int | None = None) -> bool:
    """Whether a search by one thread, as the process that is killed, under one commit, ended."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("train.search.searching.commit", lambda: "one")
            return search(TINY, folder, out=io.StringIO(), stop_at=stop_at) is not None
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    assert alone(folder)
    return folder


def test_a_search_that_was_stopped_and_one_that_was_killed_end_with_the_same_bits(straight: Path, tmp_path: Path
                                                                                  ) -> None:
    recipe, folder = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(config.show(TINY))
    command = [sys.executable, "-m", "train", "search", str(recipe), "--out", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 200
    while not (folder / "state.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)  # the other process's clock is not ours to turn
    process.kill()
    process.communicate()
    assert state(folder)["step"] in (2, 4, 6)
    if state(folder)["step"] < 5:
        assert not alone(folder, stop_at=5)
        assert state(folder)["step"] == 5
    assert alone(folder)
    assert same(state(folder), state(straight))
    assert figures(folder) == figures(straight)
    for name in ("arch.json", "last.safetensors", "decisions.png", "bytes.png"):
        assert (folder / name).read_bytes() == (straight / name).read_bytes()


def test_what_is_left_says_what_was_decided_how_surely_and_at_what_cost(straight: Path) -> None:
    text = (straight / "arch.json").read_text()
    arch, about = Arch.from_json(text), msgspec.json.decode(text)["search"]
    assert [site["site"] for site in about["sites"]] == list(site_names("osnet_x0_25"))
    for site in about["sites"]:
        assert sum(site["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert site["choice"] == arch.choice(site["site"])
    assert about["bytes"] <= about["bytes_without_sharing_tensors"] == 2 * about["bytes_if_all_shared"]
    assert set(about["scores"]) == {"supernet", "path", "derived"}
    assert about["settled"] == 0
    mean = {of: np.mean([about["scores"][of][pair]["mean_ap"] for pair in ("infrared-visible", "visible-infrared")])
            for of in about["scores"]}
    assert about["gap"] == pytest.approx(mean["supernet"] - mean["derived"], abs=0.006)
    assert "describes resnet50" in about["no_cmnas_line"]
    assert checkpoint.load(straight / "last.safetensors")[0].arch == arch
    for picture in ("decisions.png", "bytes.png"):
        assert (straight / picture).read_bytes().startswith(b"\x89PNG")
    assert any(path.name.startswith("events") for path in (straight / "tensorboard").iterdir())
    row = figures(straight)[-1]
    assert set(row["apart"]) == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc"}
    assert {"price", "bytes", "entropy", "cross_entropy"} <= set(row["guide"])


def test_a_step_of_alpha_moves_no_weight_and_no_statistic_and_one_of_the_weights_no_alpha(crops: Crops) -> None:
    searcher = Searcher(TINY, crops)
    before = {name: tensor.clone() for name, tensor in searcher.supernet.state_dict().items()}
    searcher._step_alpha()
    after = searcher.supernet.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["alpha"]
    assert all(p.grad is None for p in searcher.supernet.network.parameters())
    searcher = Searcher(varied(steps=100, preference=Preference(warm_up=99)), crops)
    searcher.advance()
    after = searcher.supernet.state_dict()
    assert torch.equal(after["alpha"], torch.zeros(6, 2))
    assert not torch.equal(after["network.backbone.conv1.bn.running_mean"],
                           before["network.backbone.conv1.bn.running_mean"])


@pytest.mark.parametrize(("backbone", "design"), [
    ("resnet50", Design()), ("resnet50", Design(non_local=True)), ("osnet_x0_25", Design(own=1))],
    ids=["neck", "non_local", "own"])
def test_a_step_of_alpha_moves_no_norm_that_is_no_site_and_those_of_the_weights_move_it_again(
        crops: Crops, backbone: str, design: Design) -> None:
    searcher = Searcher(varied(backbone=backbone, design=design), crops)
    before = {name: tensor.clone() for name, tensor in searcher.supernet.state_dict().items()}
    searcher._step_alpha()
    after = searcher.supernet.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["alpha"]
    searcher.advance()
    after = searcher.supernet.state_dict()
    moving = [name for name in before if "running_" in name]
    assert [name for name in moving if torch.equal(before[name], after[name])] == []


def test_a_norm_that_stands_still_normalises_by_its_batch_all_the_same() -> None:
    supernet = Supernet("osnet_x0_25", design=Design(own=1), identities=2).train()
    x, infrared = torch.randn(4, 3, 32, 16), torch.tensor([False, True, True, False])
    with torch.no_grad():
        moved = supernet.network(x, infrared).embedding
        supernet.track(statistics=False)
        supernet.track(statistics=False)
        assert torch.equal(supernet.network(x, infrared).embedding, moved)
        supernet.track(statistics=True)
    norms = [site.norm for site in supernet.network.norms() if isinstance(site.norm, ModalityBatchNorm)]
    assert norms
    assert all(norm.batch_norm is torch.nn.functional.batch_norm for norm in norms)


def test_a_price_turns_the_preference_to_sharing_and_a_budget_holds(crops: Crops) -> None:
    dear = Searcher(varied(cost=Cost(price=1e4)), crops)
    cheap = Searcher(varied(cost=Cost(budget=10**9, pressure=1e4)), crops)
    for searcher in (dear, cheap):
        for _ in range(3):
            searcher._step_alpha()
    assert bool((dear.supernet.alpha[:, 0] > dear.supernet.alpha[:, 1]).all())
    assert not bool((cheap.supernet.alpha[:, 0] > cheap.supernet.alpha[:, 1]).all())
    with torch.no_grad():
        cheap.supernet.alpha.copy_(torch.tensor([[0.0, 6 - row] for row in range(6)]))
    everything = decide(cheap.supernet, cheap.bytes)
    assert {choice for _, choice in everything.choices} == {"split"}
    budget = cheap.bytes.shared + 30_000
    kept = decide(cheap.supernet, cheap.bytes, budget)
    # conv1 is the surest and fits; conv2, the next, is too big for what is left.
    assert kept.choice("conv1.bn") == "split"
    assert cheap.bytes.of(kept) <= budget


def test_bytes_of_a_search_are_those_of_the_bundle() -> None:
    rng = np.random.default_rng(1)
    for backbone in ("osnet_x0_25", "resnet50"):
        arch = Arch(backbone, tuple((name, CHOICES[rng.integers(3)]) for name in site_names(backbone)))
        assert weigh(backbone).of(arch) == bytes_of(arch).total
        assert weigh(backbone).apart == bytes_of(arch).without_sharing


def test_a_budget_of_exactly_everything_shared_shares_everything_and_none_below_it_is_decided_for() -> None:
    supernet, weights = Supernet("osnet_x0_25"), weigh("osnet_x0_25")
    with torch.no_grad():
        supernet.alpha[:, 1] = 5
    assert {choice for _, choice in decide(supernet, weights, weights.shared).choices} == {"shared"}
    with pytest.raises(ValueError, match=f"at least {weights.shared} bytes"):
        decide(supernet, weights, weights.shared - 1)
    assert varied(cost=Cost(budget=weights.shared)).cost.budget == weights.shared


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_share_of_people_that_leaves_nobody_at_a_level_is_refused(crops: Crops, tmp_path: Path, share: float
                                                                    ) -> None:
    recipe = varied(held_out=HeldOut(by="identity", share=share), guide=Losses(cross_entropy=0))
    with pytest.raises(ConfigError, match=rf"held_out\.share: .*holds out {0 if share < 0.5 else 4} of 4 people"):
        search(recipe, tmp_path / "run", out=io.StringIO())
    weights, held = hold_out(crops, HeldOut(by="image", share=share), 0)
    assert len(weights)
    assert len(held)


@pytest.mark.parametrize(("warm_up", "settle"), [(6, 0), (3, 3), (0, 6), (9, 9)])
def test_a_search_in_which_alpha_never_steps_is_refused_and_one_step_is_enough(crops: Crops, warm_up: int, settle: int
                                                                              ) -> None:
    with pytest.raises(ValueError, match=r"preference\.warm_up \+ preference\.settle"):
        varied(preference=Preference(warm_up=warm_up, settle=settle))
    searcher = Searcher(varied(preference=Preference(warm_up=0, settle=5)), crops)
    assert "guide" in searcher.advance()


def test_the_likeliest_choice_of_every_site_is_decided() -> None:
    supernet = Supernet("osnet_x0_25", space="extended")
    with torch.no_grad():
        supernet.alpha[3] = torch.tensor([0.0, 1.0, 2.0])
        supernet.alpha[5] = torch.tensor([0.0, 2.0, 1.0])
    arch = decide(supernet, weigh("osnet_x0_25"))
    names = site_names("osnet_x0_25")
    assert [(name, choice) for name, choice in arch.choices if choice != "shared"] == [
        (names[3], "split_statistics"), (names[5], "split")]


@pytest.mark.parametrize("by", ["image", "identity"])
def test_nothing_is_learnt_from_at_both_levels(crops: Crops, by: Any) -> None:
    weights, held = hold_out(crops, HeldOut(by=by, share=0.5), 0)
    assert sorted([*weights, *held]) == list(range(len(crops)))
    people = [set(crops.identity[rows].tolist()) for rows in (weights, held)]
    if by == "identity":
        assert not people[0] & people[1]
        assert len(people[0]) == len(people[1]) == 2
        return
    for rows in (weights, held):
        for infrared in (False, True):
            assert set(crops.identity[rows][crops.infrared[rows] == infrared].tolist()) == set(crops.identity.tolist())
            assert len(rows) == len(crops) / 2


def test_over_people_the_weights_never_see_only_losses_between_crops_can_guide(crops: Crops, tmp_path: Path) -> None:
    by_identity = varied(held_out=HeldOut(by="identity"), train=Drawn(identities=4, cameras=(1, 3), per_camera=2))
    with pytest.raises(ConfigError, match=r"guide\.cross_entropy = 0 where people are held out by identity"):
        search(by_identity, tmp_path / "a", out=io.StringIO())
    searcher = Searcher(msgspec.structs.replace(
        by_identity, guide=Losses(cross_entropy=0, cmmd=0.05, sp=5), preference=Preference(mode="sample")), crops)
    guide = searcher.advance()["guide"]
    assert {"triplet", "cmmd", "sp"} <= set(guide)
    assert "cross_entropy" not in guide
    lonely = varied(train=Drawn(identities=4, cameras=(1, 3), per_camera=1))
    with pytest.raises(ConfigError, match="found one of identity"):
        search(lonely, tmp_path / "b", out=io.StringIO())


def test_at_the_end_choices_become_clear_and_the_weights_follow_the_decided_path(crops: Crops) -> None:
    searcher = Searcher(varied(steps=8, preference=Preference(sharpen_from=0.5, temperature=0.1, entropy=1.0, settle=2,
                                                              every=1)), crops)
    temperatures = []
    for step in range(8):
        temperatures.append(searcher.temperature)
        figures = searcher.advance()
        assert ("guide" in figures) == (step < 6)
    assert temperatures == pytest.approx([1, 1, 1, 1, 1, 0.1 ** 0.5, 0.1, 0.1])
    mixes = torch.stack([site.norm.mix for site in searcher.supernet.network.sites()])
    assert set(mixes.flatten().tolist()) == {0.0, 1.0}


def test_weights_that_settled_on_a_path_are_scored_on_it_and_no_gap_from_the_mix_is_told(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Three choices for each site: no mix is like a path, and the split path is not like the shared one.
    recipe = varied(steps=4, space="extended", preference=Preference(every=1, rate=0.1, settle=2), evaluate_every=2,
                    optimiser=Optimiser(rate=1e-2, warm_up=0))
    file = tmp_path / "settled.toml"
    file.write_text(config.show(recipe))
    shown: dict[str, list[str]] = {}

    def watch(figure: Any, path: Path) -> None:
        axes = figure.axes[0]
        shown[path.name] = [axes.get_title(), *axes.get_legend_handles_labels()[1]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.search.report._save", watch)
        assert main(["search", str(file), "--out", str(tmp_path / "run")]) == 0
    assert "settled on the decided path" in shown["bytes.png"][0]
    assert shown["bytes.png"][1:3] == ["others, with weights that settled on the decided one", "decided"]
    assert "supernet" not in capsys.readouterr().out
    about = msgspec.json.decode((tmp_path / "run" / "arch.json").read_bytes())["search"]
    assert set(about["scores"]) == {"path", "derived"}
    assert about["gap"] is None
    assert about["settled"] == 2
    rows = [row for row in figures(tmp_path / "run") if "validation" in row]
    assert [(row["step"], row["scored"]) for row in rows] == [(2, "supernet"), (4, "path")]
    assert rows[1]["validation"] == about["scores"]["path"]


def test_what_is_scored_is_the_mix_until_the_weights_follow_the_path(crops: Crops) -> None:
    recipe = varied(steps=4, space="extended", preference=Preference(every=1, rate=0.1, settle=2))
    searcher = Searcher(recipe, crops)
    assert isinstance(recipe.validation, Drawn)
    others = draw(recipe.validation, recipe.height, recipe.width)
    for step in range(1, 5):
        searcher.advance()
        assert searcher.settled == (step > 2)
        of, scored = searching._score_now(searcher, others)
        mixes = torch.stack([norm.mix for norm in searcher.kept._norms.values()]).flatten()
        assert of == ("path" if step > 2 else "supernet")
        assert (set(mixes.tolist()) == {0.0, 1.0}) == (step > 2)
    path = searcher.kept.extract(searcher.decided()).eval()
    told = score(embed(path, others), others)
    for pair, values in scored.items():
        assert values == pytest.approx(told[pair])


def test_a_derived_network_gets_statistics_of_its_own(crops: Crops) -> None:
    searcher = Searcher(TINY, crops)
    searcher.advance()
    arch = Arch.uniform("osnet_x0_25", "split")
    network = searcher.supernet.extract(arch)
    fresh = recalibrate(network, searcher.batches(3))
    first, *_ = (site.norm for site in fresh.sites())
    means = []
    with torch.no_grad():
        for images, infrared in searcher.batches(3):
            means.append(network.backbone.conv1.conv(images[~infrared]).mean((0, 2, 3)))
    torch.testing.assert_close(first.visible.running_mean, torch.stack(means).mean(0), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="at least one"):
        recalibrate(network, [])
    assert isinstance(TINY.validation, Drawn)
    others = draw(TINY.validation, TINY.height, TINY.width)
    told = score_arch_in_supernet(searcher.supernet, arch, others, batches=searcher.batches(2))
    assert set(told) == {"visible-visible", "infrared-visible", "visible-infrared"}


def test_a_search_that_leaves_the_numbers_names_step_level_and_suspect_and_keeps_the_last_good_state(
        crops: Crops, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"step \d: expected .* of (the weights|alpha), found another; the first"):
        search(varied(optimiser=Optimiser(kind="sgd", rate=1e30, warm_up=0), checkpoint_every=1), tmp_path,
               out=io.StringIO())
    assert not (tmp_path / "state.pt").exists() or all(
        bool(torch.isfinite(t).all()) for t in state(tmp_path)["supernet"].values())
    searcher = Searcher(TINY, crops)
    with torch.no_grad():
        searcher.supernet.network.get_parameter("backbone.conv3.0.conv1.conv.weight")[0] = torch.nan
    with pytest.raises(ConfigError, match=r"step 1: .*loss of the weights.*backbone\.conv3\.0\.conv1\.conv\.weight"):
        searcher.advance()
    # The weights' half failed behind that of alpha, which has been taken: only the weights are as they were.
    searcher = Searcher(varied(preference=Preference(rate=0.1)), crops)
    before = {name: tensor.clone() for name, tensor in searcher.supernet.state_dict().items()}
    with pytest.MonkeyPatch.context() as patch:
        terms = searcher._terms
        patch.setattr(searcher, "_terms", lambda level, losses, whose: {
            name: term * (torch.nan if whose == "the weights" else 1)
            for name, term in terms(level, losses, whose).items()})
        with pytest.raises(ConfigError, match=r"step 1: .*gradient of the weights"):
            searcher.advance()
    after = searcher.supernet.state_dict()
    parameters = dict(searcher.supernet.network.named_parameters(prefix="network"))
    assert searcher.step == 0
    assert [name for name in parameters if not torch.equal(before[name], after[name])] == []
    assert not torch.equal(before["alpha"], after["alpha"])
    searcher = Searcher(TINY, crops)
    with torch.no_grad():
        searcher.supernet.network.get_parameter("backbone.conv3.0.conv1.conv.weight")[0] = torch.nan
    with pytest.raises(ConfigError, match=r"finite weights.*conv3\.0\.conv1\.conv\.weight"):
        searcher.require_finite()


def test_a_search_can_start_from_a_checkpoint_of_any_architecture_of_its_backbone(
        crops: Crops, straight: Path, tmp_path: Path) -> None:
    start = straight / "last.safetensors"
    searcher = Searcher(varied(start=start), crops)
    searcher.start_from_file()
    given, _ = checkpoint.load(start)
    mine = searcher.supernet.extract(given.arch).state_dict()
    for name, tensor in given.state_dict().items():
        if not name.startswith("classifier."):
            torch.testing.assert_close(mine[name], tensor)
    foreign = tmp_path / "resnet.safetensors"
    checkpoint.save(foreign, build(Arch.uniform("osnet_x0_5", "shared")),
                    checkpoint.Checkpoint(height=32, width=16, seed=0, commit="", data=""))
    for path, kind, why in ((foreign, ConfigError, "expected a network of osnet_x0_25, found osnet_x0_5"),
                            (tmp_path / "none", ConfigError, "No such file"),
                            (straight / "arch.json", BundleError, "damaged or foreign")):
        with pytest.raises(CmnasError, match=why) as refused:
            search(varied(start=path), tmp_path / f"run{kind.exit_code}{len(why)}", out=io.StringIO())
        assert isinstance(refused.value, kind)


def test_what_cannot_be_searched_is_one_sentence(straight: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    def told(folder: Path, old: str, new: str) -> str:
        recipe, text = tmp_path / "r.toml", config.show(TINY)
        assert old in text
        recipe.write_text(text.replace(old, new))
        assert main(["search", str(recipe), "--out", str(folder)]) == 78
        shown = capsys.readouterr().err
        assert len([line for line in shown.splitlines() if "python -m train search" in line]) == 1
        assert "Traceback" not in shown
        return shown

    assert "found another one" in told(straight, "seed = 3", "seed = 4")
    assert "a number <= 1.0, found 1e+30 at preference.rate" in told(tmp_path / "h", "rate = 0.1", "rate = 1e30")
    assert "found no infrared one under the cameras 1, 2;" in told(tmp_path / "i", "cameras = [1,3]", "cameras = [1,2]")
    assert "a second camera finds again, found none (cameras 3);" in told(
        tmp_path / "j", "cameras = [1,2,3]", "cameras = [3]")
    assert "at least two people in [validation], found one" in told(
        tmp_path / "k", "identities = 3\nfirst", "identities = 1\nfirst")
    assert "unknown key 'spase'" in told(tmp_path / "a", "space =", "spase =")
    assert "at most the 4 identities" in told(tmp_path / "b", "identities_per_batch = 2", "identities_per_batch = 5")
    assert "found some in both" in told(tmp_path / "c", "first_identity = 90", "first_identity = 2")
    assert "backbone" in told(tmp_path / "d", '"osnet_x0_25"', '"osnet"')
    shared = bytes_of(Arch.uniform("osnet_x0_25", "shared")).total
    short = told(tmp_path / "e", "budget = 0", f"budget = {shared - 1}")
    assert f"cost.budget: expected at least the {shared} bytes" in short
    assert f"found {shared - 1};" in short
    assert "alpha would never" in told(tmp_path / "f", "settle = 0", "settle = 5")
    assert "a crop could come out all black" in told(tmp_path / "g", "pad = 0", "pad = 16")
    for folder in "efgh":  # before anybody is drawn
        assert not (tmp_path / folder).exists()


def test_people_with_too_few_crops_for_their_part_of_a_search_are_told_once(tmp_path: Path) -> None:
    told = io.StringIO()
    search(varied(crops_per_modality=3), tmp_path / "run", out=told, stop_at=1)
    lines = [line.strip() for line in told.getvalue().splitlines()]
    few = ("4 of 4 people have fewer crops of a modality than the 3 that a batch takes of it, the fewest 2: theirs "
           "come more than once, up to about 1.5 times")
    assert lines.count(f"of the crops the network learns from, {few}; of the crops the architecture learns from, {few}"
                       ) == 1


@pytest.mark.parametrize("path", sorted((ROOT / "train" / "recipes").glob("search_*.toml")), ids=lambda path: path.stem)
def test_every_search_in_the_project_reads(path: Path) -> None:
    recipe = config.load(path, SearchRecipe)
    assert site_names(recipe.backbone, recipe.design)
    assert recipe.preference.warm_up + recipe.preference.settle < recipe.steps
