"""The search space: which sites there are, and what an Arch refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.errors import ConfigError
from tests.golden import golden
from train.networks.space import BACKBONES, BNNECK, CHOICES, Arch, Choice, followed_linear, site_names

RESNET50 = site_names("resnet50")
OSNET = site_names("osnet_x0_25")


@st.composite
def arches(draw: st.DrawFn) -> Arch:
    backbone = draw(st.sampled_from(list(BACKBONES)))
    names = site_names(backbone)
    choices = draw(st.lists(st.sampled_from(CHOICES), min_size=len(names), max_size=len(names)))
    return Arch(backbone, tuple(zip(names, choices, strict=True)))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_has_80_or_53_sites_each_behind_a_layer_of_its_own(backbone: str) -> None:
    linear = followed_linear(backbone)
    assert len(linear) == (53 if backbone == "resnet50" else 80)
    assert len(set(linear.values())) == len(linear)
    assert tuple(linear) == site_names(backbone)


def test_osnets_sites_are_torchreids_in_their_order() -> None:
    keys = [str(name) for name in golden("osnet_keys")["osnet_x0_25/name"]]
    norms = [name.removesuffix(".running_mean") for name in keys if name.endswith(".running_mean")]
    assert list(OSNET) == norms


def test_resnet50s_sites_are_in_the_official_order_with_the_downsample_before_its_block() -> None:
    official = [str(name).removeprefix("backbone.") for name in golden("resnet50_sites")["module"]]
    assert [name.replace("downsample.1", "downsample.bn") for name in RESNET50] == official


@given(arches())
def test_json_gives_back_the_arch(arch: Arch) -> None:
    assert Arch.from_json(arch.to_json()) == arch
    assert hash(Arch.from_json(arch.to_json())) == hash(arch)


@given(st.lists(st.integers(0, 1), min_size=53, max_size=53))
def test_the_53_integers_come_back_as_they_were(codes: list[int]) -> None:
    line = " ".join(map(str, codes))
    arch = Arch.from_cmnas_line(line)
    assert arch.cmnas_line() == line
    assert [arch.choice(name) for name in RESNET50] == [("split", "shared")[code] for code in codes]
    assert Arch.from_cmnas_line(line + "\n") == arch


def test_the_first_two_integers_are_the_stem_and_the_first_downsample() -> None:
    arch = Arch.from_cmnas_line("0 0" + " 1" * 51)
    split = [name for name, choice in arch.choices if choice == "split"]
    assert split == ["bn1", "layer1.0.downsample.1"]


@pytest.mark.parametrize(("line", "found"), [
    ("1 " * 52, "found 52"), ("1 " * 54, "found 54"), ("1 " * 52 + "2", r"among them \['2'\]"),
    ("", "found 0"), ("1 " * 52 + "x", r"\['x'\]")])
def test_a_line_that_is_not_53_zeros_and_ones_is_refused(line: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        Arch.from_cmnas_line(line)


def test_the_line_cannot_say_osnet_or_split_statistics() -> None:
    with pytest.raises(ConfigError, match="describes resnet50, found osnet_x0_25"):
        Arch.uniform("osnet_x0_25", "split").cmnas_line()
    with pytest.raises(ConfigError, match=r"split_statistics at \['layer2.1.bn2'\]"):
        Arch.of("resnet50", {"layer2.1.bn2": "split_statistics"}).cmnas_line()


def test_unnamed_sites_are_shared_and_so_is_the_bnneck() -> None:
    arch = Arch.of("resnet50", {"bn1": "split"})
    assert arch.choice("bn1") == "split"
    assert arch.choice("layer4.2.bn3") == arch.choice(BNNECK) == "shared"
    assert Arch.of("resnet50", {}) == Arch.uniform("resnet50", "shared")


def test_a_site_the_backbone_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected sites of osnet_x0_25, found \['bn1'\]"):
        Arch.of("osnet_x0_25", {"bn1": "split"})
    with pytest.raises(KeyError):
        Arch.uniform("osnet_x0_25", "split").choice("bn1")


@pytest.mark.parametrize(("names", "found"), [
    (OSNET[1:], r"missing \['conv1.bn'\]"), ((*OSNET, "extra"), r"unknown \['extra'\]"),
    (OSNET[::-1], "another order"), ((*OSNET, OSNET[0]), "repeats")])
def test_choices_for_other_sites_than_the_backbones_are_refused(names: tuple[str, ...], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        Arch("osnet_x0_25", tuple((name, "split") for name in names))


def test_an_unknown_choice_or_backbone_is_refused() -> None:
    halved: Choice = "halved"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="expected a choice of shared, split, split_statistics"):
        Arch.of("osnet_x0_25", {"conv1.bn": halved})
    with pytest.raises(ValueError, match="expected one of osnet_x0_5"):
        site_names("osnet")


@pytest.mark.parametrize("text", [
    "{", "[]", "{}", '{"backbone": "resnet50", "choices": []}', '{"backbone": "resnet50", "choices": {}}',
    '{"backbone": ["resnet50"], "choices": {}}', '{"backbone": "resnet50", "choices": {}, "more": 1}',
    json.dumps({"backbone": "osnet_x0_25", "choices": {name: ["split"] for name in OSNET}})])
def test_json_that_is_no_arch_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Arch.from_json(text)
