"""State dicts as other implementations store them, written from their definitions, not with our code."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from cmnas_edge.embedding import Modality
from tests.golden import golden, golden_osnet

State = dict[str, Tensor]

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
NORM = ("weight", "bias", "running_mean", "running_var")


def osnet_state(*, identities: int = 10) -> State:
    """Torchreid's random osnet_x0_25 as its checkpoint has it: with classifier and counters."""
    state = {name: torch.from_numpy(tensor) for name, tensor in golden_osnet().items()}
    counters = {name.replace("running_var", "num_batches_tracked"): torch.tensor(9)
                for name in state if name.endswith("running_var")}
    head = {"classifier.weight": torch.randn(identities, 512), "classifier.bias": torch.randn(identities)}
    return state | counters | head


def convolutions() -> dict[str, tuple[int, ...]]:
    """ResNet-50's convolutions under torchvision's names, written down from its definition."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 7, 7)}
    inner = 64
    for stage, (mid, blocks) in enumerate(STAGES, start=1):
        for block in range(blocks):
            where = f"layer{stage}.{block}"
            shapes |= {f"{where}.conv1": (mid, inner, 1, 1), f"{where}.conv2": (mid, mid, 3, 3),
                       f"{where}.conv3": (4 * mid, mid, 1, 1)}
            if block == 0:
                shapes[f"{where}.downsample.0"] = (4 * mid, inner, 1, 1)
            inner = 4 * mid
    return shapes


def random_norm(name: str, channels: int, generator: torch.Generator) -> State:
    """A BatchNorm as torch stores it."""
    def near_one() -> Tensor:
        return torch.rand(channels, generator=generator) * 0.4 + 0.8

    return {f"{name}.weight": near_one(), f"{name}.bias": near_one() - 1, f"{name}.running_mean": near_one() - 1,
            f"{name}.running_var": near_one(), f"{name}.num_batches_tracked": torch.tensor(3)}


def random_convolutions(generator: torch.Generator) -> State:
    """Scaled so that 16 residual blocks don't explode."""
    return {f"{name}.weight": torch.randn(shape, generator=generator) * (shape[1] * shape[2] * shape[3]) ** -0.5
            for name, shape in convolutions().items()}


def torchvision_state() -> State:
    """Torchvision's ResNet-50, every number random."""
    return dict(_torchvision_state())


@cache
def _torchvision_state() -> State:
    generator = torch.Generator().manual_seed(0)
    state = random_convolutions(generator)
    for name, shape in convolutions().items():
        norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1")
        state |= random_norm(norm, shape[0], generator)
    return state | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


def cmnas_state(*, identities: int = 4) -> State:
    """What the official code stores: three norms at each of its 53 sites, whatever the config."""
    return dict(_cmnas_state(identities))


@cache
def _cmnas_state(identities: int) -> State:
    generator = torch.Generator().manual_seed(1)
    state = {f"backbone.{name.replace('downsample.0', 'downsample.conv')}": tensor
             for name, tensor in random_convolutions(generator).items()}
    sites = golden("resnet50_sites")
    for module, channels in zip(sites["module"], sites["channels"].tolist(), strict=True):
        for norm in ("thermal_bn", "visible_bn", "sharable_bn"):
            state |= random_norm(f"{module}.{norm}", channels, generator)
    state |= random_norm("bnneck", 2048, generator)
    return state | {"classifier.weight": torch.randn(identities, 2048, generator=generator)}


def reference_cmnas(state: State, line: str, x: Tensor, modality: Modality) -> tuple[Tensor, Tensor]:
    """The official network's evaluation on its own state_dict, straight from its definition."""
    modules = [str(name) for name in golden("resnet50_sites")["module"]]
    shared = dict(zip(modules, line.split(), strict=True))

    def norm(name: str, y: Tensor) -> Tensor:
        if name in shared:
            split = "visible_bn" if modality == "visible" else "thermal_bn"
            name = f"{name}.{'sharable_bn' if shared[name] == '1' else split}"
        weight, bias, mean, var = (state[f"{name}.{tensor}"] for tensor in NORM)
        return functional.batch_norm(y, mean, var, weight, bias, False, 0.1, 1e-5)

    def conv(name: str, y: Tensor, stride: int = 1) -> Tensor:
        kernel = state[f"{name}.weight"]
        return functional.conv2d(y, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    y = norm("backbone.bn1", conv("backbone.conv1", x, 2)).relu()
    y = functional.max_pool2d(y, 3, 2, 1)
    for stage, (_, blocks) in enumerate(STAGES, start=1):
        for block in range(blocks):
            where = f"backbone.layer{stage}.{block}"
            stride = 2 if stage in (2, 3) and block == 0 else 1  # last stride 1
            z = norm(f"{where}.bn1", conv(f"{where}.conv1", y)).relu()
            z = norm(f"{where}.bn2", conv(f"{where}.conv2", z, stride)).relu()
            z = norm(f"{where}.bn3", conv(f"{where}.conv3", z))
            if block == 0:
                y = norm(f"{where}.downsample.bn", conv(f"{where}.downsample.conv", y, stride))
            y = (y + z).relu()
    pooled = y.mean((2, 3))
    return pooled, norm("bnneck", pooled)


def write(path: Path, content: object) -> Path:
    """Keep something as torch does."""
    torch.save(content, path)
    return path


def assert_same(found: State, expected: State) -> None:
    """The same names with the same numbers, counters' type apart."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].float(), tensor.float()), name


def without_counters(state: State) -> State:
    """What a BatchNorm with momentum needs."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
