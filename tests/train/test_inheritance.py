"""A network starts from one of another architecture, and what can stay the same stays the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import ConfigError
from tests.export.networks import drawn_network, flags, seeds
from train.networks.build import Network, adopt, build
from train.networks.design import Design
from train.networks.osnet import ChannelGate, OSBlock
from train.networks.space import Arch, Choice

CROPS = torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(0))
# From what shares more to what shares less.
LESS = [("shared", 0, "split", 0), ("shared", 0, "split_statistics", 0), ("split_statistics", 0, "split", 0),
        ("shared", 0, "shared", 2), ("split", 0, "split", 3), ("shared", 1, "split", 4), ("split", 2, "split", 2)]


def embedding(network: Network, modality: Modality) -> Tensor:
    with torch.no_grad():
        return network.eval()(CROPS, flags(modality, 2)).embedding


def another(choice: Choice | None, design: Design, seed: int = 99, backbone: str = "osnet_x0_25") -> Network:
    """A target whose every number is another than the source's."""
    return drawn_network(seed, backbone, choice, design=design)


@settings(max_examples=4, deadline=None)
@given(seeds, st.sampled_from(LESS))
def test_sharing_less_leaves_the_function_of_each_modality(seed: int, step: tuple[Choice, int, Choice, int]) -> None:
    source = drawn_network(seed, choice=step[0], design=Design(own=step[1]))
    target = another(step[2], Design(own=step[3]))
    assert adopt(source, target) == ((), ())
    for modality in MODALITIES:
        torch.testing.assert_close(embedding(target, modality), embedding(source, modality), rtol=1e-4, atol=1e-4)


def test_every_step_towards_sharing_less_holds_for_resnet50() -> None:
    source = drawn_network(1, "resnet50", "split_statistics", design=Design(own=1))
    target = another("split", Design(own=3, non_local=True), backbone="resnet50")
    report = adopt(source, target)
    assert all(".non_local." in name for name in report.fresh)
    assert report.left_out == ()
    with torch.no_grad():
        for norm in target.norms():
            if norm.name.endswith("non_local.norm"):
                norm.norm.weight.zero_()  # type: ignore[union-attr] # as a fresh block has it
                norm.norm.bias.zero_()  # type: ignore[union-attr]
    for modality in MODALITIES:
        expected = embedding(source, modality)
        torch.testing.assert_close(embedding(target, modality), expected, rtol=0,
                                   atol=1e-5 * expected.abs().max().item())


def test_the_same_arch_takes_the_very_bits_over() -> None:
    source = drawn_network(2, design=Design(own=1))
    target = build(source.arch)
    assert adopt(source.state_dict(), target) == ((), ())
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in target.state_dict().items())


def test_branches_that_become_one_are_averaged_and_their_variance_is_that_of_all_rows() -> None:
    source, target = drawn_network(3, choice="split"), another("shared", Design())
    generator = torch.Generator().manual_seed(0)
    visible, infrared = (torch.randn(1000, 16, generator=generator) * 2 + 1, torch.randn(1000, 16, generator=generator))
    own = source.state_dict()
    with torch.no_grad():
        for modality, rows in (("visible", visible), ("infrared", infrared)):
            own[f"backbone.conv1.bn.{modality}.running_mean"].copy_(rows.mean(0))
            own[f"backbone.conv1.bn.{modality}.running_var"].copy_(rows.var(0, correction=0))
    adopt(source, target)
    found, together = target.state_dict(), torch.cat((visible, infrared))
    torch.testing.assert_close(found["backbone.conv1.bn.running_mean"], together.mean(0))
    torch.testing.assert_close(found["backbone.conv1.bn.running_var"], together.var(0, correction=0))
    for name in ("weight", "bias"):
        torch.testing.assert_close(found[f"backbone.conv1.bn.{name}"], (
            own[f"backbone.conv1.bn.visible.{name}"] + own[f"backbone.conv1.bn.infrared.{name}"]) / 2)


def test_split_statistics_keep_theirs_and_average_scale_and_shift() -> None:
    source, target = drawn_network(4, choice="split"), another("split_statistics", Design())
    adopt(source, target)
    own, found = source.state_dict(), target.state_dict()
    for modality in MODALITIES:
        for name in ("running_mean", "running_var"):
            assert torch.equal(found[f"backbone.fc.1.{modality}.{name}"], own[f"backbone.fc.1.{modality}.{name}"])
    torch.testing.assert_close(found["backbone.fc.1.bias"], (
        own["backbone.fc.1.visible.bias"] + own["backbone.fc.1.infrared.bias"]) / 2)


def test_copies_that_become_one_are_averaged() -> None:
    source, target = drawn_network(5, choice="shared", design=Design(own=1)), another("shared", Design())
    adopt(source, target)
    visible, infrared = (source.state_dict()[f"backbone.conv1.{modality}.conv.weight"] for modality in MODALITIES)
    assert not torch.allclose(visible, infrared)
    torch.testing.assert_close(target.state_dict()["backbone.conv1.conv.weight"], (visible + infrared) / 2)


@pytest.mark.parametrize(("choice", "own"), [("split", 0), ("split_statistics", 0), ("shared", 3), ("split", 2)])
def test_from_shared_to_anything_and_back_is_nothing(choice: Choice, own: int) -> None:
    source = drawn_network(6, choice="shared")
    there, back = another(choice, Design(own=own)), another("shared", Design())
    adopt(source, there)
    adopt(there, back)
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in back.state_dict().items())


def test_a_lite_3x3_becomes_the_full_3x3_that_it_is() -> None:
    source, target = drawn_network(7, choice="split"), another("split", Design(lite=False))
    assert adopt(source, target) == ((), ())
    for modality in MODALITIES:
        torch.testing.assert_close(embedding(target, modality), embedding(source, modality), rtol=1e-4, atol=1e-4)


def test_a_full_3x3_cannot_become_lite_and_the_report_says_so() -> None:
    source, target = drawn_network(8, design=Design(lite=False, streams=1)), another(None, Design(streams=1))
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    report = adopt(source, target)
    blocks = [f"backbone.conv{stage}.{block}.conv2a" for stage in (2, 3, 4) for block in (0, 1)]
    assert set(report.fresh) == {f"{block}.{conv}.weight" for block in blocks for conv in ("conv1", "conv2")}
    assert set(report.left_out) == {f"{block}.conv.weight" for block in blocks}
    assert all(torch.equal(target.state_dict()[name], before[name]) for name in report.fresh)


def test_a_gate_for_all_streams_becomes_one_for_each() -> None:
    source, target = drawn_network(9, choice="shared"), another("shared", Design(fusion="gate_per_stream"))
    assert adopt(source, target) == ((), ())
    torch.testing.assert_close(embedding(target, "visible"), embedding(source, "visible"), rtol=1e-4, atol=1e-4)


def test_fewer_streams_leave_some_out_and_more_start_afresh() -> None:
    four, two = drawn_network(10, choice="shared"), another("shared", Design(streams=2), 11)
    before = two.state_dict()["backbone.conv2.0.conv2b.1.conv1.weight"].clone()
    report = adopt(four, two)
    assert report.fresh == ()
    assert report.left_out != ()
    assert all(".conv2c." in name or ".conv2d." in name for name in report.left_out)
    assert not torch.equal(two.state_dict()["backbone.conv2.0.conv2b.1.conv1.weight"], before)
    report = adopt(two, another("shared", Design()))
    assert all(".conv2c." in name or ".conv2d." in name for name in report.fresh)
    assert report.left_out == ()


def test_another_kind_of_gate_starts_afresh() -> None:
    report = adopt(drawn_network(12, choice="shared"), target := another("shared", Design(fusion="scalar_gate")))
    assert {name.rpartition("gate.")[2] for name in report.fresh} == {"fc2.weight", "fc2.bias"}
    block = target.backbone.get_submodule("conv2.0")
    assert isinstance(block, OSBlock)
    assert isinstance(block.gate, ChannelGate)
    report = adopt(drawn_network(12, choice="shared"), another("shared", Design(fusion="sum")))
    assert report.fresh == ()
    assert len(report.left_out) == 24


@pytest.mark.parametrize(("there", "here", "kept", "taken"), [
    (3, 3, True, True), (3, 3, False, False), (3, 4, True, False), (0, 4, True, False), (3, 0, True, False)])
def test_a_classifier_is_taken_over_when_the_sizes_agree_and_it_is_wanted(
    there: int, here: int, kept: bool, taken: bool
) -> None:
    source = build(Arch.uniform("osnet_x0_25", "shared"), identities=there)
    target = build(Arch.uniform("osnet_x0_25", "split"), identities=here)
    head = ("classifier.weight", "classifier.bias")
    report = adopt(source, target, classifier=kept)
    assert report == ((), ()) if taken else report == (head * bool(here), head * bool(there))
    if source.classifier is not None and target.classifier is not None and there == here:
        assert torch.equal(source.classifier.weight, target.classifier.weight) == taken


@pytest.mark.parametrize("as_state", [True, False])
@pytest.mark.parametrize("other", ["osnet_x0_5", "resnet50"])
def test_another_backbone_is_refused_and_nothing_is_touched(other: str, as_state: bool) -> None:
    source, target = build(Arch.uniform(other, "shared")), drawn_network(13)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(ConfigError, match=r"start: expected a network of .*, found .*; start from another network"):
        adopt(source.state_dict() if as_state else source, target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_a_state_with_something_foreign_in_it_is_refused_by_name() -> None:
    source = drawn_network(14, choice="shared").state_dict()
    with pytest.raises(ConfigError, match=r"backbone\.surplus"):
        adopt(source | {"backbone.surplus": torch.zeros(1)}, drawn_network(15))
    del source["backbone.conv5.bn.bias"]
    with pytest.raises(ConfigError, match=r"backbone\.conv5\.bn\.visible\.bias"):
        adopt(source, drawn_network(15, choice="split"))
