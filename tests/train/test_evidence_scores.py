"""What a run of the evidence is scored by: figures query by query, slices by what is hard, and what gates listen to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.crops import draw_set
from train.data.crops import Crops
from train.evaluate import normalised
from train.evidence import gates, scores, sets, work
from train.evidence.plan import START, Fit, Search, plan
from train.evidence.records import Records, unpacked
from train.networks import checkpoint
from train.networks.build import Network, build
from train.networks.osnet import OSBlock
from train.networks.space import Arch

PEOPLE = 8


def crops(first: int = 0) -> Crops:
    found = draw_set(range(first, first + PEOPLE), (1, 2, 3, 4, 5, 6), 2, sets.HEIGHT, sets.WIDTH)
    return Crops(found.images, found.identity, found.camera, found.infrared)


def embeds(monkeypatch: pytest.MonkeyPatch, how: Any) -> None:
    """Let every network embed as ``how(crops)`` says."""
    monkeypatch.setattr(scores, "embed", lambda network, some: how(some).astype(np.float32))


def by_person(some: Crops) -> np.ndarray:
    return np.eye(100)[some.identity % 100]


def test_who_knows_everybody_finds_everybody_in_every_population(monkeypatch: pytest.MonkeyPatch) -> None:
    embeds(monkeypatch, by_person)
    found = scores.figures(build(Arch.uniform("osnet_x0_25", "shared")), [crops(), crops(20)])
    assert all(row == {"rank1": 100.0, "mean_ap": 100.0} for row in found["pairs"].values())
    assert set(found["pairs"]) == {"visible-visible", "infrared-infrared", "infrared-visible", "visible-infrared"}
    for values in found["queries"].values():
        assert values.tolist() == [255] * (2 * PEOPLE * 2 * 2)  # two populations, two infrared cameras, two crops each


def test_queries_are_told_person_after_person(monkeypatch: pytest.MonkeyPatch) -> None:
    embeds(monkeypatch, lambda some: np.where((some.identity == 3)[:, None], np.eye(100)[99 - some.infrared],
                                              by_person(some)))
    found = scores.figures(build(Arch.uniform("osnet_x0_25", "shared")), [crops()])
    lost = found["queries"]["rank1"].reshape(PEOPLE, -1)
    assert (lost[3] == 0).all()
    assert (np.delete(lost, 3, 0) == 255).all()


def test_slices_tell_hidden_people_from_clear_ones_and_one_side_from_the_other(
        monkeypatch: pytest.MonkeyPatch) -> None:
    some = crops()
    hidden = scores.views(some)[1]
    assert 0 < hidden.sum() < len(some)
    strangers = np.eye(200)[100 + np.arange(len(some))]
    embeds(monkeypatch, lambda given: np.where(
        (hidden & given.infrared)[:, None] if len(given) == len(some) else np.zeros((len(given), 1), bool),
        strangers[:len(given)], np.eye(200)[given.identity % 100]))
    found = scores.slices(build(Arch.uniform("osnet_x0_25", "shared")), [some], crops(20).take(np.arange(24)))
    assert found["clear"]["rank1"] == 100
    assert found["hidden"]["rank1"] < 20  # a stranger to everybody: right by chance alone
    assert found["look-alikes"]["rank1"] == 100
    assert {"same side", "other side"} & set(found)


def test_the_angle_is_to_the_best_positive_that_may_be_found() -> None:
    rows = scores.Embeddings(np.eye(4, dtype=np.float32), np.array([1, 1, 1, 2]), np.array([3, 2, 4, 1]),
                             np.array([True, False, False, False]))
    query, gallery = rows.take(np.array([0])), rows.take(np.array([1, 2, 3]))
    # Camera 2 is in the room of camera 3, so the nearest is the one under camera 4; around the back is 0.4 away.
    turn = scores._turn(query, gallery, np.array([3.1]), np.array([3.1, -2.7832, 3.1]))
    assert turn[0] == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.5])
def test_a_zoom_changes_how_large_people_are_around_the_middle(factor: float) -> None:
    image = np.zeros((1, 64, 32, 3), np.uint8)
    image[:, 24:40, 12:20] = 255
    bright = (gates._zoomed(image, factor)[0, :, :, 0] > 127)
    assert bright.any(1).sum() == pytest.approx(16 / factor, abs=1)
    assert bright.any(0).sum() == pytest.approx(8 / factor, abs=1)
    assert np.flatnonzero(bright.any(1)).mean() == pytest.approx(31.5, abs=0.51)


def test_gate_weights_are_those_each_stream_is_multiplied_by(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = build(Arch.uniform("osnet_x0_25", "shared"))
    some = crops()
    hidden = np.arange(len(some)) % 5 == 0
    found = gates.weights(network, some, hidden)
    seen: dict[int, list[list[torch.Tensor]]] = {}
    plain = OSBlock.stream_weights

    def noted(block: OSBlock, streams: Any) -> Any:
        weights = plain(block, streams)
        seen.setdefault(id(block), []).append(list(weights or ()))
        return weights

    monkeypatch.setattr(OSBlock, "stream_weights", noted)
    network.eval()
    with torch.inference_mode():
        network(normalised(some.images[hidden]), torch.from_numpy(some.infrared[hidden]))
    blocks = [module for module in network.modules() if isinstance(module, OSBlock)]
    for name, block in zip(found["hidden"], blocks, strict=True):
        expected = [float(weight.mean()) for weight in seen[id(block)][0]]
        assert found["hidden"][name] == pytest.approx(expected, abs=1e-4)
    assert network.training is False
    with pytest.raises(ValueError, match="expected an OSNet whose blocks have one gate"):
        gates.weights(build(Arch.uniform("resnet50", "shared")), some, hidden)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The evidence's sets with a handful of people."""
    monkeypatch.setattr(sets, "_TEST_IDENTITIES", 3)
    monkeypatch.setattr(sets, "TESTS", 1)
    monkeypatch.setattr(sets, "SETS", {name: msgspec.structs.replace(group, people=msgspec.structs.replace(
        group.people, identities=80, per_camera=2)) for name, group in sets.SETS.items()})
    _forget()
    yield
    _forget()


def _forget() -> None:
    for kept in (work._drawn, work._unmet, work._validation, work._look_alikes):
        kept.cache_clear()


@pytest.mark.usefixtures("small")
def test_a_run_of_each_kind_leaves_a_record_and_a_network_that_the_next_can_start_from(tmp_path: Path) -> None:
    by_name = {one.name: msgspec.structs.replace(one, steps=1) for one in plan()}
    found: dict[str, Any] = {}
    for name in (START, "search 0", "sites/searched/0"):
        one, told = by_name[name], []
        found[name] = work.make(one, tmp_path, {need: found[need] for need in one.needs},
                                lambda done, all_, told=told: told.append((done, all_)))
        assert told == [(1, 1)]
        assert found[name]["run"] == name
    assert isinstance(by_name["search 0"], Search)
    searched = found["sites/searched/0"]
    assert isinstance(by_name["sites/searched/0"], Fit)
    assert searched["split"] == found["search 0"]["split"]
    assert set(found["search 0"]["probabilities"]) == set(dict(Arch.uniform("osnet_x0_25", "shared").choices))
    assert len(unpacked(searched["queries"]["average_precision"])) == 3 * searched["queries"]["each"]
    assert searched["apart"]["before"] != searched["apart"]["after"]
    # Without this folder's own the tracked start is taken, which is not what was recorded here.
    work.checkpoint_path(tmp_path, START).unlink()
    with pytest.raises(ConfigError, match=r"start.safetensors: expected the network of the record"):
        work.make(by_name["sites/stem"], tmp_path, found, lambda done, all_: None)


def test_the_tracked_start_is_the_recorded_one() -> None:
    network, _ = checkpoint.load(work.TRACKED)
    assert network.identities == 0
    assert work.weights_digest(network) == Records()[START]["weights"]


def test_the_start_of_a_run_is_what_it_begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Network] = []
    monkeypatch.setattr(work, "adopt", lambda start, network, classifier: taken.append(network))
    monkeypatch.setattr(work, "_start", lambda folder, name, found: None)
    monkeypatch.setattr(work, "_drawn", lambda name: crops_of(20))
    monkeypatch.setattr(work, "_unmet", lambda name: [crops()])
    monkeypatch.setattr(work, "_look_alikes", crops)
    one = Fit(name="x", question="sites", label="x", scheme="split", steps=0)
    work.make(one, tmp_path, {}, lambda done, all_: None)
    assert len(taken) == 2  # the network, and the average that is scored


def crops_of(count: int) -> Crops:
    found = draw_set(range(count), (1, 3), 2, sets.HEIGHT, sets.WIDTH)
    return Crops(found.images, found.identity, found.camera, found.infrared)
