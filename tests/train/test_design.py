"""A design says what a network is built of, and refuses what a backbone doesn't have."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.errors import ConfigError
from train.networks.backbones import BACKBONES, parts
from train.networks.design import RELEASED, Design, Fusion, differences
from train.networks.osnet_layers import WIDTHS
from train.networks.space import Arch, followed_linear, site_names

OSNETS = st.builds(Design, streams=st.integers(1, 26), fusion=st.sampled_from(get_args(Fusion)), lite=st.booleans(),
                   pool=st.sampled_from(["mean", "gem"]), own=st.integers(0, 4))
RESNETS = st.builds(Design, pool=st.sampled_from(["mean", "gem"]), non_local=st.booleans(), own=st.integers(0, 5))


@given(st.one_of(st.tuples(st.sampled_from(list(WIDTHS)), OSNETS), st.tuples(st.just("resnet50"), RESNETS)))
def test_json_gives_back_an_arch_of_any_design(what: tuple[str, Design]) -> None:
    arch = Arch.uniform(what[0], "split", design=what[1])
    found = Arch.from_json(arch.to_json())
    assert found == arch
    assert hash(found) == hash(arch)
    assert found.design == what[1]


def test_the_released_design_is_left_out_so_that_old_files_stay_as_they_are() -> None:
    old = json.dumps({"backbone": "resnet50", "choices": dict.fromkeys(site_names("resnet50"), "split")})
    assert Arch.uniform("resnet50", "split").to_json() == old
    assert Arch.from_json(old).design == RELEASED
    assert json.loads(Arch.uniform("resnet50", "split", design=Design(own=1)).to_json())["design"] == {"own": 1}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_archs_of_two_designs_are_two_archs_though_their_choices_are_the_same(backbone: str) -> None:
    plain, gem = Arch.uniform(backbone, "split"), Arch.uniform(backbone, "split", design=Design(pool="gem"))
    assert plain.choices == gem.choices
    assert plain != gem


@pytest.mark.parametrize(("options", "words"), [
    ({"streams": 0}, "streams"), ({"streams": 27}, "streams"), ({"fusion": "concat"}, "concat"), ({"own": -1}, "own"),
    ({"own": 6}, "own"), ({"own": True}, "own"), ({"lite": 1}, "lite"), ({"pool": "max"}, "max")])
def test_a_number_or_word_outside_its_range_is_refused_however_it_comes(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"design: .*{words}"):
        Design(**options)
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(options, Design)
    sites = dict.fromkeys(site_names("resnet50"), "split")
    with pytest.raises(ConfigError, match=f"arch: design: .*{words}"):
        Arch.from_json(json.dumps({"backbone": "resnet50", "choices": sites, "design": options}))


@pytest.mark.parametrize(("backbone", "design", "words"), [
    ("osnet_x0_25", Design(non_local=True), "osnet_x0_25 has no option non_local, .* true.* or take resnet50"),
    ("resnet50", Design(streams=3), "resnet50 has no option streams, .* 3; .* take osnet_x0_5 or"),
    ("resnet50", Design(fusion="sum"), "no option fusion"), ("resnet50", Design(lite=False), "no option lite"),
    ("osnet_x1_0", Design(own=5), r"expected own from 0 to 4 \(conv1, conv2, conv3, conv4\)")])
def test_an_option_that_the_backbone_does_not_have_is_refused(backbone: str, design: Design, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Arch.uniform(backbone, "shared", design=design)
    with pytest.raises(ConfigError, match=words):
        Arch.from_json(json.dumps({"backbone": backbone, "choices": dict.fromkeys(site_names(backbone), "shared"),
                                   "design": msgspec.to_builtins(design)}))


def test_an_unknown_option_is_refused_not_forgotten() -> None:
    sites = dict.fromkeys(site_names("resnet50"), "split")
    with pytest.raises(ConfigError, match="stream_count"):
        Arch.from_json(json.dumps({"backbone": "resnet50", "choices": sites, "design": {"stream_count": 4}}))


@pytest.mark.parametrize("backbone", ["osnet_x0_25", "resnet50"])
def test_owning_a_part_takes_its_sites_out_and_leaves_the_others(backbone: str) -> None:
    everything = site_names(backbone)
    for own, (_, modules) in enumerate(parts(backbone).items(), start=1):
        before, after = (site_names(backbone, Design(own=k)) for k in (own - 1, own))
        assert [site for site in before if site not in after] == [
            site for site in everything if site.split(".")[0] in modules]
    assert site_names(backbone, Design(own=len(parts(backbone)))) == (
        ("conv5.bn", "fc.1") if backbone == "osnet_x0_25" else ())


@pytest.mark.parametrize(("streams", "sites"), [(1, 3 + 5 + 6 * 3), (2, 3 + 5 + 6 * 5), (4, 80)])
def test_a_block_has_a_site_for_each_3x3_of_each_stream(streams: int, sites: int) -> None:
    # 3 shortcuts; stem, 2 transitions, conv5 and fc; and per block in, out and 1 + ... + T.
    assert len(site_names("osnet_x0_25", Design(streams=streams))) == sites


def test_the_sites_of_full_3x3s_are_named_as_the_lite_ones_and_follow_the_one_convolution() -> None:
    full = followed_linear("osnet_x0_25", Design(lite=False))
    assert tuple(full) == site_names("osnet_x0_25")
    assert full["conv2.0.conv2a.bn"] == "conv2.0.conv2a.conv"
    assert full["conv4.1.conv2d.3.bn"] == "conv4.1.conv2d.3.conv"


@pytest.mark.parametrize("design", [Design(own=1), Design(non_local=True), Design(pool="gem")])
def test_the_53_integers_cannot_say_another_design(design: Design) -> None:
    with pytest.raises(ConfigError, match=differences(RELEASED, design)[0]):
        Arch.uniform("resnet50", "shared", design=design).cmnas_line()


def test_the_difference_of_two_archs_is_named_first_things_first() -> None:
    one = Arch.of("resnet50", {"bn1": "split"})
    assert one.differences(one) == ""
    assert one.differences(Arch.uniform("osnet_x0_25", "shared")) == "backbone osnet_x0_25 instead of resnet50"
    assert one.differences(Arch.uniform("resnet50", "shared")) == "shared instead of split at bn1"
    other = Arch.uniform("resnet50", "split", design=Design(own=1, non_local=True))
    assert one.differences(other) == (
        "non_local true instead of false, own 1 instead of 0, split instead of shared at layer1.0.downsample.1, "
        "split instead of shared at layer1.0.bn1, split instead of shared at layer1.0.bn2, "
        "another choice at 49 further sites")
