"""Hand-designed sets of sites, by name."""

from __future__ import annotations

import pytest

from train.networks.backbones import BACKBONES, parts
from train.networks.design import Design
from train.networks.schemes import LEVELS, SCHEMES, groups, scheme
from train.networks.space import Arch, site_names

LEVELS_OF = [(backbone, level) for backbone in BACKBONES for level in LEVELS
             if (backbone, level) != ("resnet50", "stream")]


@pytest.mark.parametrize(("backbone", "level"), LEVELS_OF)
@pytest.mark.parametrize("own", [0, 2])
def test_every_site_is_in_exactly_one_group_and_groups_are_in_order(backbone: str, level: str, own: int) -> None:
    found = groups(backbone, level, Design(own=own))  # type: ignore[arg-type]
    in_groups = [site for sites in found.values() for site in sites]
    assert sorted(in_groups) == sorted(site_names(backbone, Design(own=own)))
    firsts = [site_names(backbone).index(sites[0]) for sites in found.values()]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize(("backbone", "counts"), [
    ("osnet_x0_25", {"stage": 6, "block": 11, "stream": 44, "site": 80}),
    ("resnet50", {"stage": 5, "block": 17, "site": 53})])
def test_levels_have_the_stated_number_of_groups(backbone: str, counts: dict[str, int]) -> None:
    assert {level: len(groups(backbone, level)) for level in counts} == counts  # type: ignore[arg-type]


def test_groups_hold_what_their_names_say() -> None:
    assert list(groups("osnet_x0_25")) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc"]
    assert [len(sites) for sites in groups("osnet_x0_25").values()] == [1, 26, 26, 25, 1, 1]
    streams = groups("osnet_x0_25", "stream")
    assert streams["conv3.1.conv2c"] == ("conv3.1.conv2c.0.bn", "conv3.1.conv2c.1.bn", "conv3.1.conv2c.2.bn")
    assert streams["conv3.0.downsample"] == ("conv3.0.downsample.bn",)
    assert streams["conv2.2"] == ("conv2.2.0.bn",)
    blocks = groups("resnet50", "block")
    assert blocks["layer3.0"] == tuple(f"layer3.0.{end}" for end in ("downsample.1", "bn1", "bn2", "bn3"))
    assert blocks["stem"] == ("bn1",)


def test_resnet50_has_no_streams_and_nobody_has_another_level() -> None:
    with pytest.raises(ValueError, match="expected stage, block or site for resnet50, found stream"):
        groups("resnet50", "stream")
    with pytest.raises(ValueError, match="expected one of stage, block, stream, site, found 'layer'"):
        groups("resnet50", "layer")  # type: ignore[arg-type]


@pytest.mark.parametrize(("backbone", "early"), [("osnet_x0_25", 40), ("resnet50", 28)])
def test_the_halves_are_cut_between_two_blocks_and_make_up_the_whole(backbone: str, early: int) -> None:
    first, second = scheme("early_half", backbone), scheme("late_half", backbone)
    assert first + second == site_names(backbone) == scheme("all", backbone)
    assert len(first) == early
    blocks = groups(backbone, "block")
    assert all(set(sites) <= set(first) or set(sites) <= set(second) for sites in blocks.values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_first_k_are_the_sites_that_owning_k_parts_takes_away(backbone: str) -> None:
    for k in range(1, 5):
        gone = set(site_names(backbone)) - set(site_names(backbone, Design(own=k)))
        assert set(scheme(f"first_{k}", backbone)) == gone
    assert scheme("first_1", backbone) == scheme("stem", backbone) == (site_names(backbone)[0],)


@pytest.mark.parametrize("backbone", ["osnet_x0_25", "resnet50"])
def test_every_scheme_and_every_group_by_name_makes_an_arch(backbone: str) -> None:
    names = [*SCHEMES, *(name for b, level in LEVELS_OF if b == backbone
                         for name in groups(b, level))]  # type: ignore[arg-type]
    for name in names:
        chosen = scheme(name, backbone)
        arch = Arch.of(backbone, dict.fromkeys(chosen, "split"))
        assert sum(choice == "split" for _, choice in arch.choices) == len(chosen)
        assert bool(chosen) == (name != "none")


def test_what_a_modality_owns_is_not_in_a_scheme() -> None:
    design = Design(own=1)
    assert scheme("stem", "resnet50", design) == ()
    assert scheme("early_half", "resnet50", design) == scheme("early_half", "resnet50")[1:]
    assert scheme("late_half", "resnet50", design) == scheme("late_half", "resnet50")


@pytest.mark.parametrize("name", ["first_0", "first_6", "conv2", "steam"])
def test_an_unknown_scheme_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected none, all, stem, .* stem, layer1, .*found '{name}'"):
        scheme(name, "resnet50")


def test_parts_are_the_leading_modules() -> None:
    assert list(parts("osnet_x0_5")) == ["conv1", "conv2", "conv3", "conv4"]
    assert parts("resnet50")["stem"] == ("conv1", "bn1")
    assert list(parts("resnet50")) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    with pytest.raises(ValueError, match="expected one of osnet_x0_5"):
        parts("vgg")
