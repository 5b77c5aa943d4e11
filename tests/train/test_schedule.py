"""Rates and averages follow the published schedules to the last digit, and the house's own ones their shape."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.golden import golden
from train.fit import optimisers
from train.fit.optimisers import Optimiser, follow, freeze, make, set_rate
from train.networks.build import Network, build
from train.networks.space import Arch


@pytest.mark.parametrize("base", [0.01, 0.001])
@pytest.mark.parametrize("epoch", [1, 348])
def test_the_official_rates_come_out_epoch_by_epoch(base: float, epoch: int) -> None:
    how = Optimiser(rate=base, hold=epoch, warm_up=10 * epoch, warm_up_from=0.01, drops=(40 * epoch, 70 * epoch))
    for step_in_epoch in {0, epoch - 1}:
        rates = [how.at(e * epoch + step_in_epoch, 120 * epoch) for e in range(120)]
        np.testing.assert_allclose(rates, golden("training_utils")[f"lr_base{base}"], rtol=1e-12)


def test_the_rates_of_agw_come_out_epoch_by_epoch() -> None:
    how = Optimiser(rate=0.1, hold=7, warm_up=70, drops=(140, 350))
    rates = [how.at(7 * epoch + 3, 7 * 81) for epoch in range(81)]
    expected = [0.1 * (epoch + 1) / 10 if epoch < 10 else 0.1 if epoch < 20 else 0.01 if epoch < 50 else 0.001
                for epoch in range(81)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@given(st.integers(1, 40), st.integers(1, 400), st.integers(0, 2000))
def test_a_rate_is_held_for_an_epoch_and_never_above_the_one_asked_for(hold: int, warm_up: int, step: int) -> None:
    how = Optimiser(rate=2.0, hold=hold, warm_up=warm_up)
    rate = how.at(step, 2000)
    assert rate == how.at(step - step % hold, 2000)
    assert 0 <= rate <= 2


def test_the_official_moving_average_comes_out() -> None:
    numbers = golden("training_utils")
    network, average = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(average.weight)
    how = Optimiser(average=float(numbers["ema_decay"]), average_ramp=0)
    for step in range(5):
        nn.init.constant_(network.weight, step + 1)
        follow(average, network, step + 1, how)
        np.testing.assert_allclose(average.weight.detach().numpy(), numbers["ema_seq"][step], rtol=1e-6)


def test_an_average_with_a_ramp_soon_forgets_where_it_began() -> None:
    network, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 1000)
    nn.init.constant_(network.weight, 1)
    follow(average, network, 1, Optimiser(average=0.998))
    assert average.weight.item() == pytest.approx(1 + 999 / 11)


def tiny() -> Network:
    torch.manual_seed(0)
    return build(Arch.uniform("osnet_x0_25", "shared"), identities=3)


def learn(how: Optimiser, steps: int = 3) -> tuple[Network, list[dict[str, torch.Tensor]]]:
    """A few steps on a made-up gradient: every parameter's own value, times the step."""
    network = tiny()
    optimiser = make(network, how)
    seen = []
    for step in range(steps):
        set_rate(optimiser, how.at(step, steps))
        for parameter in network.parameters():
            parameter.grad = parameter.detach() * (step + 1) + 0.01
        optimiser.step()
        seen.append({name: p.detach().clone() for name, p in network.named_parameters()})
    return network, seen


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_follows_its_equations_with_the_decay_in_the_gradient(amsgrad: bool) -> None:
    how = Optimiser(kind="amsgrad" if amsgrad else "adam", rate=0.01, warm_up=0, drops=(99,), betas=(0.5, 0.9),
                    weight_decay=0.1, decay="all", backbone=0.1)
    _, seen = learn(how)
    for name, factor in (("backbone.conv1.conv.weight", 0.1), ("backbone.conv1.bn.bias", 0.1),
                         ("classifier.weight", 1.0), ("classifier.bias", 1.0)):
        x = dict(tiny().named_parameters())[name].detach().double()
        first, second, largest = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
        for step in range(3):
            gradient = x * (step + 1) + 0.01 + 0.1 * x
            first = 0.5 * first + 0.5 * gradient
            second = 0.9 * second + 0.1 * gradient ** 2
            largest = torch.maximum(largest, second)  # before the bias is corrected, as AMSGrad has it
            scale = (largest if amsgrad else second) / (1 - 0.9 ** (step + 1))
            x = x - 0.01 * factor * first / (1 - 0.5 ** (step + 1)) / (scale.sqrt() + 1e-8)
        torch.testing.assert_close(seen[-1][name].double(), x, rtol=1e-4, atol=1e-6)


def test_by_default_only_matrices_decay() -> None:
    with_decay, without = (learn(Optimiser(rate=0.01, weight_decay=decay, warm_up=0), 1)[1][0] for decay in (0.5, 0.0))
    for name, tensor in with_decay.items():
        assert torch.equal(tensor, without[name]) == (tensor.ndim <= 1), name


def test_a_frozen_network_keeps_statistics_and_weights_until_its_classifier_has_learnt() -> None:
    network = tiny()
    learning = frozenset(name for name, _ in network.named_parameters()) - {"backbone.fc.1.bias"}
    freeze(network, learning, classifier_only=True)
    assert not network.training
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {
        "classifier.weight", "classifier.bias"}
    freeze(network, learning, classifier_only=False)
    assert network.training
    assert {name for name, p in network.named_parameters() if p.requires_grad} == learning


def test_the_neck_and_the_classifier_learn_at_the_full_rate() -> None:
    network = build(Arch.uniform("resnet50", "shared"), identities=2)
    groups = make(network, Optimiser(backbone=0.1, rate=1.0)).param_groups
    fast = {id(p) for group in groups if group["factor"] == 1 for p in group["params"]}
    names = {name for name, p in network.named_parameters() if id(p) in fast}
    assert names == {"backbone.bnneck.weight", "classifier.weight"}
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in network.parameters())


def test_rates_that_nobody_can_mean_are_refused() -> None:
    for key, value in (("rate", 0), ("warm_up", -1), ("average", 1), ("clip", -1), ("betas", [0.9, 1.0]), ("hold", 0),
                       ("kind", "lion"), ("backbone", 0)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({key: value}, Optimiser)
    assert math.isclose(msgspec.convert({}, Optimiser).rate, 3e-3)
    assert optimisers.Optimiser().average == 0.998
