"""A site agrees with the switch BatchNorm of the official CM-NAS code, whose ReLU is outside ours."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.golden import golden
from train.networks.modality_bn import ModalityBatchNorm

CASES = list(itertools.product((0, 1), (False, True), (False, True), (0, 1, 2)))
OFFICIAL = {"visible": "visible_bn", "infrared": "thermal_bn", "": "sharable_bn"}


def official_name(switch: int, name: str) -> str:
    """The tensor of the official op that a site's ``visible.weight`` or ``weight`` is."""
    branch, _, tensor = name.rpartition(".")
    assert bool(branch) == (switch == 0)
    return f"{OFFICIAL[branch]}.{tensor}"


@pytest.mark.parametrize(("switch", "relu", "train", "mode"), CASES)
def test_values_gradients_and_running_statistics_are_the_official_ones(
    switch: int, relu: bool, train: bool, mode: int
) -> None:
    file = golden("switch_bn")
    case = f"switch{switch}_relu{relu:d}_train{train:d}_mode{mode}"
    norm = ModalityBatchNorm(5, "shared" if switch else "split").train(train)
    with torch.no_grad():
        for name, tensor in norm.state_dict().items():
            tensor.copy_(torch.from_numpy(file[f"init/{official_name(switch, name)}"]))

    x = torch.from_numpy(file["x"]).requires_grad_()
    # Mode 0 is visible rows, then thermal ones; 1 takes every row for visible, 2 for thermal.
    infrared = {0: torch.arange(8) >= 4, 1: torch.zeros(8, dtype=torch.bool),
                2: torch.ones(8, dtype=torch.bool)}[mode]
    y = norm(x, infrared)
    if relu:
        y = y.relu()
    (y**2).sum().backward()

    np.testing.assert_allclose(y.detach().numpy(), file[f"{case}/y"], rtol=1e-5, atol=1e-6)
    assert x.grad is not None
    # Without ReLU the true gradient in training is nearly zero (batch norm fixes the sum of squares),
    # so what remains is rounding of terms of order one.
    np.testing.assert_allclose(x.grad.numpy(), file[f"{case}/gx_of_sum_sq"], rtol=1e-4, atol=2e-6)
    for name, tensor in norm.named_buffers():
        official = official_name(switch, name)
        expected = file[f"{case}/{official}"] if train else file[f"init/{official}"]
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_every_case_of_the_file_is_compared() -> None:
    found = {name.partition("/")[0] for name in golden("switch_bn")} - {"init", "x"}
    assert found == {f"switch{s}_relu{r:d}_train{t:d}_mode{m}" for s, r, t, m in CASES}
