"""The generalised mean, by hand; and the non-local block against its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from train.networks.build import build
from train.networks.design import NON_LOCAL, Design
from train.networks.modality_bn import Rows
from train.networks.non_local import NonLocal
from train.networks.pooling import GeneralisedMean, pooling
from train.networks.resnet import Bottleneck
from train.networks.space import Arch


@given(st.lists(st.floats(0, 100), min_size=6, max_size=6))
def test_the_generalised_mean_is_the_cube_root_of_the_mean_of_cubes(numbers: list[float]) -> None:
    x = torch.tensor(numbers, dtype=torch.float64).reshape(1, 1, 2, 3)
    expected = (sum(number**3 for number in numbers) / 6 + 1e-12) ** (1 / 3)
    assert GeneralisedMean()(x).item() == pytest.approx(expected, rel=1e-9)
    mean, largest = sum(numbers) / 6, max(numbers)
    assert mean - 1e-6 <= GeneralisedMean()(x).item() <= largest + 1.1e-4


def test_an_empty_channel_has_a_gradient_that_is_a_number() -> None:
    x = torch.zeros(1, 2, 2, 2, requires_grad=True)
    GeneralisedMean()(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_neither_overflows_nor_rounds_the_cubes(half: torch.dtype) -> None:
    x = (torch.rand(2, 3, 4, 4) * 400).to(half)  # 400 cubed is beyond float16
    found = GeneralisedMean()(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, GeneralisedMean()(x.double()).float())


def test_the_mean_is_the_mean() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(pooling("mean")(x), x.flatten(2).sum(2) / 20)


@pytest.mark.parametrize("backbone", ["osnet_x0_25", "resnet50"])
def test_a_network_pools_its_last_map_as_its_design_says(backbone: str) -> None:
    network = build(Arch.uniform(backbone, "shared", design=Design(pool="gem"))).eval()
    x = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        last = network.backbone.features(x, Rows(2, 2))
        found = network(x, torch.zeros(2, dtype=torch.bool)).pooled
    torch.testing.assert_close(found, ((last**3).mean((2, 3)) + 1e-12) ** (1 / 3), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, last.mean((2, 3)), rtol=1e-2)


def drawn_block() -> NonLocal:
    torch.manual_seed(0)
    block = NonLocal(6).double().eval()
    with torch.no_grad():
        for tensor in block.state_dict().values():
            tensor.uniform_(0.2, 1)
    return block


def test_a_place_is_told_the_others_weighted_by_likeness() -> None:
    block, x = drawn_block(), torch.randn(2, 6, 3, 2, dtype=torch.float64)
    state = block.state_dict()

    def at(conv: str, vector: Tensor) -> Tensor:  # a 1x1 convolution at one place is a matrix
        return state[f"{conv}.weight"][:, :, 0, 0] @ vector + state[f"{conv}.bias"]

    expected = torch.empty_like(x)
    for n in range(2):
        places = [x[n, :, i, j] for i in range(3) for j in range(2)]
        for i in range(6):
            told = sum((at("theta", places[i]) @ at("phi", place)) * at("g", place) for place in places) / 6
            y = at("project", told)
            y = (y - state["norm.running_mean"]) / (state["norm.running_var"] + 1e-5).sqrt()
            expected[n, :, i // 2, i % 2] = places[i] + state["norm.weight"] * y + state["norm.bias"]
    with torch.no_grad():
        torch.testing.assert_close(block(x, Rows(2, 1)), expected)


def test_a_fresh_block_passes_its_input_on_and_still_learns() -> None:
    torch.manual_seed(0)
    block, x = NonLocal(4).train(), torch.randn(4, 4, 3, 3)
    found = block(x, Rows(4, 2))
    assert torch.equal(found, x)
    (found**2).sum().backward()
    assert block.norm.weight is not None
    assert bool(block.norm.weight.grad.any())


def test_agws_five_blocks_stand_behind_the_last_blocks_of_the_second_and_third_stage() -> None:
    torch.manual_seed(0)
    network = build(Arch.uniform("resnet50", "split", design=Design(non_local=True)))
    there = [name for name, module in network.backbone.named_modules()
             if isinstance(module, Bottleneck) and module.non_local is not None]
    assert there == list(NON_LOCAL) == ["layer2.2", "layer2.3", "layer3.3", "layer3.4", "layer3.5"]
    # AGW (0, 2, 3, 0): three convolutions c -> c/2 and one back, with biases, and a norm.
    extra = sum(4 * c * c // 2 + 3 * c // 2 + c + 2 * c for c in (512, 512, 1024, 1024, 1024))
    plain = build(Arch.uniform("resnet50", "split"))
    count = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in plain.parameters())
    assert count == extra == 7_358_464
