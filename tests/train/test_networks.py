"""Whole networks: what they cost, which sites they have, and that rows don't meet by accident."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from train.networks.build import Network, build
from train.networks.modality_bn import ModalityBatchNorm
from train.networks.space import BACKBONES, BNNECK, Arch, Choice, site_names

# Released torchreid networks and torchvision's ResNet-50 with last stride 1, without classifier:
# parameters, MACs at 256x128 (total, pointwise, stem, depthwise, 3x3, gates, fc), BatchNorm channels.
COSTS = {
    "osnet_x1_0": (2_169_508, 978_875_392, 866_123_776, 77_070_336, 35_389_440, 0, 29_696, 262_144, 11_520),
    "osnet_x0_75": (1_285_754, 571_752_192, 487_194_624, 57_802_752, 26_542_080, 0, 16_128, 196_608, 8_768),
    "osnet_x0_5": (630_034, 272_899_328, 216_530_944, 38_535_168, 17_694_720, 0, 7_424, 131_072, 6_016),
    "osnet_x0_25": (201_864, 82_314_880, 54_132_736, 19_267_584, 8_847_360, 0, 1_664, 65_536, 3_264),
    "resnet50": (23_508_032, 4_053_270_528, 2_088_763_392, 77_070_336, 0, 1_887_436_800, 0, 0, 26_560),
}


def count_macs(network: Network, height: int, width: int) -> Counter[str]:
    """Multiply-adds of convolutions and Linear for one crop, by kind, from the shapes that really occur."""
    macs: Counter[str] = Counter()

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            macs["fc"] += module.in_features * module.out_features
        elif isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0]
            if module.bias is not None:
                kind = "gate"
            elif module.groups > 1:
                kind = "depthwise"
            else:
                kind = {1: "pointwise", 3: "3x3", 7: "stem"}[kernel]
            macs[kind] += output[0].numel() * kernel**2 * module.in_channels // module.groups

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, height, width), torch.zeros(1, dtype=torch.bool))
    return macs


@pytest.mark.parametrize("backbone", BACKBONES)
def test_parameters_and_macs_are_those_of_the_released_networks(backbone: str) -> None:
    network = build(Arch.uniform(backbone, "shared"))
    parameters, total, pointwise, stem, depthwise, full, gate, fc, channels = COSTS[backbone]
    counted = sum(p.numel() for name, p in network.named_parameters() if BNNECK not in name)
    assert counted == parameters
    assert sum(site.norm.channels for site in network.sites() if site.name != BNNECK) == channels
    macs = count_macs(network, 256, 128)
    assert (macs["pointwise"], macs["stem"], macs["depthwise"], macs["3x3"], macs["gate"], macs["fc"]) == (
        pointwise, stem, depthwise, full, gate, fc)
    assert macs.total() == total


@pytest.mark.parametrize("backbone", ["osnet_x0_25", "osnet_x1_0", "resnet50"])
def test_splitting_every_site_costs_two_numbers_per_channel(backbone: str) -> None:
    def parameters(choice: Choice) -> int:
        return sum(p.numel() for p in build(Arch.uniform(backbone, choice)).parameters())

    assert parameters("split") - parameters("shared") == 2 * COSTS[backbone][-1]
    assert parameters("split_statistics") == parameters("shared")


@pytest.mark.parametrize("backbone", ["osnet_x0_25", "resnet50"])
def test_every_norm_is_a_site_and_sees_exactly_what_its_layer_gave(backbone: str) -> None:
    names = site_names(backbone)
    arch = Arch.of(backbone, {names[0]: "split", names[-1]: "split_statistics"})
    network = build(arch).eval()
    sites = network.sites()
    assert [site.name for site in sites if site.linear is not None] == list(names)
    assert [site.name for site in sites if site.linear is None] == [BNNECK] * (backbone == "resnet50")
    assert {id(site.norm) for site in sites} == {
        id(module) for module in network.modules() if isinstance(module, ModalityBatchNorm)}
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    assert all(site.norm.choice == arch.choice(site.name) for site in sites)

    given_by: dict[str, Tensor] = {}
    taken_by: dict[str, Tensor] = {}
    for site in sites:
        site.norm.register_forward_pre_hook(
            lambda module, inputs, name=site.name: taken_by.__setitem__(name, inputs[0]))
        if site.linear is not None:
            site.linear.register_forward_hook(
                lambda module, inputs, output, name=site.name: given_by.__setitem__(name, output))
    with torch.no_grad():
        network(torch.randn(2, 3, 64, 32), torch.tensor([True, False]))
    assert all(given_by[name] is taken_by[name] for name in names)


@pytest.mark.parametrize("backbone", ["osnet_x0_25", "resnet50"])
@pytest.mark.parametrize("choice", ["shared", "split", "split_statistics"])
def test_a_step_reaches_every_parameter_that_has_a_say(backbone: str, choice: Choice) -> None:
    torch.manual_seed(0)
    network = build(Arch.uniform(backbone, choice), identities=5).train()
    infrared = torch.tensor([True, False, False, True, True, False])
    features = network(torch.randn(6, 3, 64, 32), infrared)
    assert features.embedding.shape == (6, network.dimension)
    assert features.logits.shape == (6, 5)
    nn.functional.cross_entropy(features.logits, torch.arange(6) % 5).backward()
    still = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert still == []
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == (
        [f"backbone.{BNNECK}.bias"] if backbone == "resnet50" else [])


@pytest.mark.parametrize("training", [True, False])
def test_outputs_follow_the_order_of_the_rows(training: bool) -> None:
    torch.manual_seed(1)
    network = build(Arch.uniform("osnet_x0_25", "split"), identities=3).double().train(training)
    x = torch.randn(7, 3, 32, 32, dtype=torch.float64)
    infrared = torch.tensor([False, True, True, False, True, False, False])
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    expected = copy.deepcopy(network)(x, infrared)
    for found, wanted in zip(network(x[order], infrared[order]), expected, strict=True):
        torch.testing.assert_close(found, wanted[order])


def test_in_evaluation_a_row_depends_on_itself_alone() -> None:
    torch.manual_seed(2)
    network = build(Arch.uniform("osnet_x0_25", "split")).double().eval()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    infrared = torch.tensor([True, False, True])
    together = network(x, infrared).embedding
    for row in range(3):
        alone = network(x[row:row + 1], infrared[row:row + 1]).embedding
        torch.testing.assert_close(alone[0], together[row])


def test_a_split_network_reads_the_same_crop_differently_by_modality() -> None:
    torch.manual_seed(3)
    network = build(Arch.of("osnet_x0_25", {"conv1.bn": "split"}), identities=2)
    network(torch.randn(8, 3, 32, 32) + torch.arange(8).reshape(8, 1, 1, 1), torch.arange(8) >= 4)
    network.eval()
    crop = torch.randn(1, 3, 32, 32).expand(2, -1, -1, -1)
    visible, infrared = network(crop, torch.tensor([False, True])).embedding
    assert not torch.allclose(visible, infrared)
    assert network.eval()(crop, torch.tensor([False, False])).logits is not None


def test_rows_without_a_flag_each_are_refused() -> None:
    network = build(Arch.uniform("osnet_x0_25", "shared"))
    with pytest.raises(ValueError, match="expected one flag for each of 2 rows, found 3"):
        network(torch.zeros(2, 3, 32, 32), torch.zeros(3, dtype=torch.bool))
