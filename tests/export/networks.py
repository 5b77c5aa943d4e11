"""Networks with any architecture and any BatchNorm state, drawn from a seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st

from cmnas_edge.embedding import Modality
from train.networks.build import Network, build
from train.networks.design import RELEASED, Design
from train.networks.space import CHOICES, Arch, site_names

seeds = st.integers(0, 2**31 - 1)


def drawn_network(seed: int, backbone: str = "osnet_x0_25", choice: str | None = None, *,
                  design: Design = RELEASED) -> Network:
    """A network whose sites and statistics are drawn; ``choice`` fixes all sites."""
    rng = np.random.default_rng(seed)
    names = site_names(backbone, design)
    choices = {name: choice or str(rng.choice(CHOICES)) for name in names}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(Arch.of(backbone, choices, design=design)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.copy_(values(rng.normal(0, 0.5, tensor.shape)))
            elif name.endswith("running_var"):
                tensor.copy_(values(np.exp(rng.normal(0, 0.7, tensor.shape))))
            elif tensor.ndim == 1:  # scale and shift of the norms, biases of gates and of the last layer
                spread = (0.5, 1.5) if name.endswith("weight") else (-0.5, 0.5)
                tensor.copy_(values(rng.uniform(*spread, tensor.shape)))
            elif name.endswith(".gate.weight") or ".infrared." in name:  # what starts alike, and does not stay so
                tensor.mul_(values(rng.uniform(0.5, 1.5, tensor.shape)))
        if design.non_local:  # whose output grows with the cube of its input: five in a row leave float32
            for norm in (site.norm for site in network.norms() if site.name.endswith((".bn3", ".non_local.norm"))):
                for parameter in norm.parameters():
                    parameter.mul_(0.1)
    return network


def values(array: npt.NDArray[np.float64]) -> torch.Tensor:
    """As float32."""
    return torch.from_numpy(array.astype(np.float32))


def drawn_crops(seed: int, count: int = 3, height: int = 32, width: int = 16) -> npt.NDArray[np.uint8]:
    """Noise: no border, channel or pixel is like another."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def flags(modality: Modality, count: int) -> torch.Tensor:
    """All rows of one modality."""
    return torch.full((count,), modality == "infrared")
