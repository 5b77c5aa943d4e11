"""OSNet: the paper's argument as laws, and torchreid's numbers."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.golden import golden, golden_osnet
from tests.shared import SHARED, needs_shared
from train.networks.build import build
from train.networks.importers import to_torchreid
from train.networks.modality_bn import Rows
from train.networks.osnet import ChannelGate, Fusion, OSBlock
from train.networks.osnet_layers import WIDTHS
from train.networks.space import Arch, Choice

FUSIONS: tuple[Fusion, ...] = get_args(Fusion)


def shared(site: str) -> Choice:
    return "shared"


def block(channels: tuple[int, int] = (64, 128), *, streams: int = 4, fusion: Fusion = "gate") -> OSBlock:
    torch.manual_seed(0)
    return OSBlock("block", shared, channels, streams=streams, fusion=fusion).double()


def maps(count: int, channels: int, seed: int = 0) -> list[Tensor]:
    """Random maps as streams give them, ``(2, c, 3, 3)``, not negative."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(2, channels, 3, 3, generator=generator, dtype=torch.float64) for _ in range(count)]


def gate_size(streams: int, fusion: Fusion) -> int:
    gate = block(streams=streams, fusion=fusion).gate
    return 0 if gate is None else sum(p.numel() for p in gate.parameters())


@pytest.mark.parametrize("streams", [1, 2, 3, 6])
def test_the_unified_gate_costs_the_same_for_any_number_of_streams(streams: int) -> None:
    # c -> c/16 -> c with biases, c = 32 in the middle of a block that ends in 128.
    assert gate_size(streams, "gate") == 32 * 2 + 2 + 2 * 32 + 32
    assert gate_size(streams, "scalar_gate") == 32 * 2 + 2 + 2 + 1
    assert gate_size(streams, "gate_per_stream") == streams * gate_size(1, "gate")
    assert gate_size(streams, "fixed") == streams * 32
    assert gate_size(streams, "sum") == 0


@given(st.integers(1, 5), st.integers(0, 2**31 - 1))
@settings(deadline=None, max_examples=20)
def test_the_shared_gates_gradient_is_the_sum_of_the_streams_contributions(streams: int, seed: int) -> None:
    unified, separate = block(streams=streams), block(streams=streams, fusion="gate_per_stream")
    assert isinstance(unified.gate, ChannelGate)
    assert isinstance(separate.gate, nn.ModuleList)
    for gate in separate.gate:
        gate.load_state_dict(unified.gate.state_dict())
    inputs = maps(streams, 32, seed)
    fused, alike = unified.fuse(inputs), separate.fuse(inputs)
    torch.testing.assert_close(fused, alike)
    (fused**2).sum().backward()
    (alike**2).sum().backward()
    contributions = [dict(gate.named_parameters()) for gate in separate.gate]
    for name, parameter in unified.gate.named_parameters():
        parts = [contribution[name].grad for contribution in contributions]
        torch.testing.assert_close(parameter.grad, torch.stack(parts).sum(0))


@pytest.mark.parametrize(("fusion", "shape"), [
    ("gate", (2, 32, 1, 1)), ("gate_per_stream", (2, 32, 1, 1)), ("scalar_gate", (2, 1, 1, 1))])
def test_a_gates_weights_are_its_streams_own_and_change_with_the_input(
    fusion: Fusion, shape: tuple[int, ...]
) -> None:
    one = block(streams=3, fusion=fusion)
    assert one.gate is not None
    with torch.no_grad():
        for parameter in one.gate.parameters():
            parameter.abs_()  # so that the gate's own ReLU is open
    inputs = maps(3, 32)
    weights = one.stream_weights(inputs)
    assert weights is not None
    assert all(weight.shape == shape and bool(((weight > 0) & (weight < 1)).all()) for weight in weights)
    changed = [inputs[0], inputs[1] * 3 + 1, inputs[2]]
    after = one.stream_weights(changed)
    assert after is not None
    assert torch.equal(after[0], weights[0])
    assert not torch.allclose(after[1], weights[1])
    assert torch.equal(after[2], weights[2])


def test_one_gate_gives_two_streams_with_the_same_map_the_same_weights() -> None:
    same = maps(1, 32) * 2
    first, second = block(streams=2).stream_weights(same) or []
    assert torch.equal(first, second)
    first, second = block(streams=2, fusion="gate_per_stream").stream_weights(same) or []
    assert not torch.allclose(first, second)


def test_fixed_weights_do_not_look_at_the_input_and_start_as_a_sum() -> None:
    one = block(streams=3, fusion="fixed")
    before, after = one.stream_weights(maps(3, 32, 1)), one.stream_weights(maps(3, 32, 2))
    assert before is not None
    assert after is not None
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    inputs = maps(3, 32)
    torch.testing.assert_close(one.fuse(inputs), inputs[0] + inputs[1] + inputs[2])
    assert block(streams=3, fusion="sum").stream_weights(inputs) is None


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("streams", [1, 4, 5])
def test_fusing_is_the_weighted_sum_over_streams(fusion: Fusion, streams: int) -> None:
    one = block(streams=streams, fusion=fusion)
    inputs = maps(streams, 32)
    weights = one.stream_weights(inputs) or [torch.ones(1, dtype=torch.float64)] * streams
    expected = sum(weight * stream for weight, stream in zip(weights, inputs, strict=True))
    torch.testing.assert_close(one.fuse(inputs), expected)
    x = torch.randn(2, 64, 6, 5, dtype=torch.float64)
    assert one(x, Rows(2, 1)).shape == (2, 128, 6, 5)


@pytest.mark.parametrize("t", [1, 2, 3, 4, 5])
def test_stream_t_sees_2t_plus_1_pixels(t: int) -> None:
    one = block((64, 64), streams=5).eval()
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.abs_()  # so that no ReLU closes and nothing cancels
    x = torch.rand(1, 16, 15, 15, dtype=torch.float64, requires_grad=True)
    stream = one.get_submodule(one.stream_names[t - 1])
    stream(x, Rows(1, 1))[0, :, 7, 7].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 0
    expected = torch.zeros(15, 15, dtype=torch.bool)
    expected[7 - t:8 + t, 7 - t:8 + t] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("streams", [0, 27])
def test_a_number_of_streams_without_a_letter_is_refused(streams: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 26"):
        block(streams=streams)


def test_an_unknown_fusion_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of gate, gate_per_stream"):
        block(fusion="concat")  # type: ignore[arg-type]


def test_a_fresh_network_starts_as_the_released_ones_did() -> None:
    torch.manual_seed(0)
    state = build(Arch.uniform("osnet_x1_0", "split"), identities=100).state_dict()
    for name, tensor in state.items():
        if name.endswith(("bias", "running_mean")):
            assert not tensor.any(), name
        elif name.endswith(("bn.visible.weight", "bn.infrared.weight", "running_var")):
            assert bool((tensor == 1).all()), name
    assert state["backbone.fc.0.weight"].std().item() == pytest.approx(0.01, rel=0.05)
    # Kaiming, fan out: 512 outputs of one pixel; a depthwise filter counts all 128 of them.
    assert state["backbone.conv5.conv.weight"].std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.05)
    depthwise = state["backbone.conv4.0.conv2a.conv2.weight"]
    assert depthwise.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.1)


@pytest.mark.parametrize("backbone", WIDTHS)
def test_names_and_shapes_are_torchreids(backbone: str) -> None:
    keys = golden("osnet_keys")
    expected = {str(name): tuple(size for size in shape if size >= 0)
                for name, shape in zip(keys[f"{backbone}/name"], keys[f"{backbone}/shape"].tolist(), strict=True)}
    identities = expected["classifier.weight"][0]
    state = to_torchreid(build(Arch.uniform(backbone, "shared"), identities=identities))
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected


def golden_network(choice: Choice) -> nn.Module:
    """Torchreid's random osnet_x0_25; every branch of a split site has its numbers."""
    reference = golden_osnet()
    network = build(Arch.uniform("osnet_x0_25", choice)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            plain = name.removeprefix("backbone.").replace(".visible", "").replace(".infrared", "")
            tensor.copy_(torch.from_numpy(reference[plain]))
    return network


@pytest.mark.parametrize("choice", ["shared", "split", "split_statistics"])
@pytest.mark.parametrize("infrared", [False, True])
def test_the_embedding_is_torchreids(choice: Choice, infrared: bool) -> None:
    forward = golden("osnet_x0_25_forward")
    with torch.no_grad():
        found = golden_network(choice)(torch.from_numpy(forward["input_160x64"]), torch.tensor([infrared]))
    expected = forward["output_160x64"]
    # float32 of the reference itself is off by 2.4e-4 at magnitudes up to 34.
    np.testing.assert_allclose(found.embedding.numpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@needs_shared("golden/osnet_x0_25.npz")
def test_the_embedding_and_the_last_map_are_torchreids_at_256x128() -> None:
    with np.load(SHARED / "golden" / "osnet_x0_25.npz") as file:
        x, expected, features = (file[name] for name in ("input", "output_f64", "featuremap"))
    network = golden_network("split")
    with torch.no_grad():
        found = network(torch.from_numpy(x), torch.tensor([True, False]))
        last = network.backbone.features(torch.from_numpy(x), Rows(2, 1))
    np.testing.assert_allclose(found.embedding.numpy(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(last.numpy(), features, rtol=0, atol=1e-4 * np.abs(features).max())
    np.testing.assert_allclose(found.pooled.numpy(), features.mean((2, 3)), rtol=0,
                               atol=1e-4 * np.abs(features).max())
