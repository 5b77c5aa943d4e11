"""The objective is the weighted sum a recipe asks for, each term on the feature it names."""

from __future__ import annotations

import msgspec
import pytest
import torch

from tests.train.loss_cases import CUTS, batch, cases, leaf
from train.losses.classification import cross_entropy
from train.losses.objective import Losses, objective
from train.losses.triplet import four_term_triplet
from train.networks.build import Features, Network, build
from train.networks.space import Arch

NOTHING = {"cross_entropy": 0.0, "triplet": 0.0}


@pytest.fixture(scope="module")
def network() -> Network:
    return build(Arch.uniform("osnet_x0_25", "shared"), identities=4)


def three_features(width: int = 16) -> tuple[dict[str, torch.Tensor], Features, torch.Tensor, torch.Tensor]:
    """Independent leaves for every feature, so that a gradient tells who was read."""
    reads = {name: batch(i, width=width)[0].detach() for i, name in enumerate(("pooled", "signed", "embedding"))}
    for leaf_ in reads.values():
        leaf_.requires_grad_()
    _, labels, infrared = batch()
    logits = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return reads, Features(**reads, logits=logits), labels, infrared


@pytest.mark.parametrize("read", ["pooled", "signed", "embedding"])
@pytest.mark.parametrize(("term", "setting"), [
    ("triplet", "triplet_on"), ("weighted_triplet", "triplet_on"), ("contrast", "contrast_on"), ("cmmd", "c3mmd_on"),
    ("sp", "c3mmd_on")])
def test_each_loss_reads_the_feature_its_setting_names(network: Network, term: str, setting: str, read: str) -> None:
    leaves, features, labels, infrared = three_features()
    losses = msgspec.convert({**NOTHING, term: 1.0, setting: read}, Losses)
    terms = objective(features, network, labels, infrared, losses)
    assert list(terms) == [term]
    terms[term].backward()
    assert [name for name, found in leaves.items() if found.grad is not None] == [read]


def test_unless_told_otherwise_cross_entropy_and_triplet_read_logits_and_embedding(network: Network) -> None:
    _, features, labels, infrared = three_features()
    terms = objective(features, network, labels, infrared, Losses())
    assert features.logits is not None
    assert {name: term.item() for name, term in terms.items()} == {
        "cross_entropy": cross_entropy(features.logits, labels, smoothing=0.1).item(),
        "triplet": four_term_triplet(features.embedding, labels, infrared, margin=0.3).item()}


@pytest.mark.parametrize("term", ["cross_entropy", "triplet", "weighted_triplet", "contrast", "cmmd", "sp"])
def test_a_term_weighs_what_the_recipe_says(network: Network, term: str) -> None:
    _, features, labels, infrared = three_features()
    once, thrice = (objective(features, network, labels, infrared, msgspec.convert({**NOTHING, term: weight}, Losses))
                    for weight in (1.0, 3.0))
    assert thrice[term].item() == pytest.approx(3 * once[term].item(), rel=1e-6)


def test_the_published_weights_give_the_references_sum_of_cmmd_and_sp(network: Network) -> None:
    case = cases(CUTS / "c3mmd.npz")["rand_small_f32"]
    embedding = torch.cat([leaf(case["v"]), leaf(case["t"])])
    labels = (torch.arange(16) // int(case["num_pos"])).repeat(2)
    features = Features(pooled=embedding * 0, signed=embedding * 0, embedding=embedding, logits=None)
    losses = msgspec.convert({**NOTHING, "cmmd": 0.05, "sp": 5.0}, Losses)
    terms = objective(features, network, labels, torch.arange(32) >= 16, losses)
    assert sum(terms.values()).item() == pytest.approx(float(case["total"]), rel=1e-5)


def test_the_kernel_of_cmmd_is_the_recipes(network: Network) -> None:
    rows = batch()[0].detach()[:4]
    features = Features(rows, rows, torch.cat([rows, -rows]), None)
    labels, infrared = torch.tensor([0, 0, 1, 1]).repeat(2), torch.arange(8) >= 4
    blind, seeing = (objective(features, network, labels, infrared, msgspec.convert(
        {**NOTHING, "cmmd": 1.0, "cmmd_kernel": kernel}, Losses))["cmmd"].item()
        for kernel in ("second_moment", "both_moments"))
    assert blind == pytest.approx(0, abs=1e-6)
    assert seeing > 0.1


def test_everything_at_once_under_bfloat16_is_the_same_as_from_float32_copies(network: Network) -> None:
    _, features, labels, infrared = three_features(width=512)
    losses = Losses(weighted_triplet=1.0, contrast=1.0, cmmd=0.05, sp=5.0, cosine=16.0, triplet_on="pooled")
    narrow = Features(*(None if x is None else (1e3 * x).detach().bfloat16() for x in features))
    with torch.autocast("cpu", torch.bfloat16):
        found = objective(narrow, network, labels, infrared, losses)
    wide = objective(Features(*(None if x is None else x.float() for x in narrow)), network, labels, infrared, losses)
    assert list(found) == ["cross_entropy", "triplet", "weighted_triplet", "contrast", "cmmd", "sp"]
    for name, term in found.items():
        assert term.dtype == torch.float32
        assert term.item() == wide[name].item()
        assert bool(torch.isfinite(term))


def test_sp_on_unequal_halves_is_refused_and_the_other_losses_are_not(network: Network) -> None:
    _, features, labels, infrared = three_features()
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[int(torch.nonzero(infrared)[0])] = False
    fewer = Features(*(None if x is None else x[kept] for x in features))
    with pytest.raises(ValueError, match=r"sp: expected .* got 12 visible rows of 4 identities and 11 infrared rows"):
        objective(fewer, network, labels[kept], infrared[kept], Losses(sp=5.0))
    objective(fewer, network, labels[kept], infrared[kept], Losses(cmmd=0.05, weighted_triplet=1.0, contrast=1.0))


def test_metric_losses_alone_need_no_classifier_and_know_any_label() -> None:
    bare = build(Arch.uniform("osnet_x0_25", "shared"))
    _, features, labels, infrared = three_features()
    unseen = labels + 1000
    terms = objective(features._replace(logits=None), bare, unseen, infrared, Losses(cross_entropy=0.0, cmmd=0.05))
    assert list(terms) == ["triplet", "cmmd"]
    with pytest.raises(ValueError, match="expected one with a classifier"):
        objective(features._replace(logits=None), bare, labels, infrared, Losses())


@pytest.mark.parametrize(("said", "sentence"), [
    ({"triplet_on": "logits"}, "triplet_on"),
    ({"cmmd_kernel": "gaussian"}, "cmmd_kernel"),
    ({"sp": -5.0}, "sp"),
    ({"ccmd": 0.05}, "ccmd"),
    (NOTHING, "at least one weight above 0"),
])
def test_losses_nobody_can_mean_are_refused_by_name(said: dict[str, object], sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=sentence):
        msgspec.convert(said, Losses)


def test_a_further_loss_that_nobody_wrote_is_refused_by_name() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"further ones of train/losses/further.py .* found centre_loss"):
        msgspec.convert({"further": {"centre_loss": 0.5}}, Losses)
    with pytest.raises(msgspec.ValidationError, match="further"):
        msgspec.convert({"further": {"centre_loss": -1.0}}, Losses)
