"""First-order bilevel search: weights learn from one part of the crops, the preference from the other.

Source of the scheme: DARTS (Liu et al., ICLR 2019), first order: a step of alpha takes the weights
as they are. It moves no weight and no running statistic of any norm. What a step does follows from the recipe,
the step's number and the saved state, and from nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cmnas_edge.errors import ConfigError
from train.data.crops import Crops
from train.evaluate import normalised
from train.fit import optimisers, suspects
from train.fit.distributed import ALONE, World, gather
from train.fit.trainer import silence_branches
from train.losses.objective import Losses, objective
from train.networks import checkpoint, importers
from train.networks.build import Features, build
from train.networks.schemes import groups
from train.networks.space import Arch
from train.search.derive import Batch, Bytes, decide, weigh
from train.search.levels import Level, hold_out
from train.search.recipe import SearchRecipe
from train.search.supernet import Supernet

__all__ = ["Searcher"]

_CPU = torch.device("cpu")
_UNIT = 100_000  # bytes: what prices are for
_REMEDY = "; lower optimiser.rate or preference.rate, or raise optimiser.warm_up; the last saved state is kept"


class Searcher:
    """A supernet on its way: one ``advance`` is a step of the weights and, in its turn, one of alpha.

    Args:
        recipe: What to do.
        crops: What to learn from, both levels.
        device: What computes.
        world: Which processes take each step together; all of them call ``advance``.
        together: Sites that choose together, by name of the group, where ``recipe.by`` has no such grouping.

    Raises:
        ConfigError: Losses that need a classifier are to guide over people whom it doesn't know.
        ValueError: The crops don't make the batches asked for, or backbone and grouping don't fit, or a
            batch cannot be shared by so many processes.
    """

    def __init__(self, recipe: SearchRecipe, crops: Crops, *, device: torch.device = _CPU, world: World = ALONE,
                 together: Mapping[str, Sequence[str]] | None = None) -> None:
        if recipe.held_out.by == "identity" and recipe.guide.cross_entropy:
            raise ConfigError("recipe: expected guide.cross_entropy = 0 where people are held out by identity, found "
                              f"{recipe.guide.cross_entropy:g}; there is no class for people the weights never see")
        self.step = 0
        self.recipe, self._device, self._world = recipe, device, world
        rows = hold_out(crops, recipe.held_out, recipe.seed)
        # Another seed for the held-out batches, which may be numbered as the weights' batches are.
        self._learnt, self._held = (Level(recipe, crops.take(part), seed, world)
                                    for part, seed in zip(rows, (recipe.seed, recipe.seed ^ 0x5EED), strict=True))
        torch.manual_seed(recipe.seed)
        self.supernet = Supernet(recipe.backbone, space=recipe.space, design=recipe.design,
                                 groups=together or groups(recipe.backbone, recipe.by, recipe.design),
                                 identities=int(self._learnt.classes.max()) + 1)
        self.bytes: Bytes = weigh(recipe.backbone, recipe.design)
        silence_branches(self.supernet.network)
        self.supernet.to(device).train()
        self._average = copy.deepcopy(self.supernet) if recipe.optimiser.average else None
        if world.count > 1:
            self.supernet.synchronise()
        self._extra = self.bytes.of_groups(self.supernet).to(device)
        self._weights = optimisers.make(self.supernet.network, recipe.optimiser)
        how = recipe.preference
        self._alpha = torch.optim.Adam([self.supernet.alpha], how.rate, betas=how.betas, weight_decay=how.weight_decay)

    def start_from_file(self) -> None:
        """Initialise every branch from the recipe's ``start``.

        Raises:
            ConfigError: It is of another backbone or design, or not there.
            BundleError: It cannot be read.
        """
        recipe = self.recipe
        assert recipe.start is not None
        if recipe.start_format == "checkpoint":
            found, _ = checkpoint.load(recipe.start)
        else:
            found, *_ = importers.read(recipe.start, recipe.start_format,
                                       Arch.uniform(recipe.backbone, "shared", design=recipe.design))
        # A classifier over other people would only have to be unlearnt.
        plain = build(found.arch)
        plain.load_state_dict({name: tensor for name, tensor in found.state_dict().items()
                               if not name.startswith("classifier.")})
        try:
            for each in filter(None, (self.supernet, self._average)):
                each.begin_as(plain)
        except ValueError as error:
            raise ConfigError(f"{recipe.start}: {error}; correct recipe.start") from error

    @property
    def kept(self) -> Supernet:
        """What to judge: the moving average of the weights with today's preference, or the supernet itself."""
        if self._average is None:
            return self.supernet
        with torch.no_grad():
            self._average.alpha.copy_(self.supernet.alpha)
        return self._average

    @property
    def temperature(self) -> float:
        """Of the softmax over choices, now."""
        return float(self.recipe.preference.temperature ** self._sharpened())

    @property
    def settled(self) -> bool:
        """Whether the last step's weights followed the decided path: what other choices need is no longer kept up."""
        return self.step > self.recipe.steps - self.recipe.preference.settle

    @property
    def odd(self) -> str:
        """Who comes in batches otherwise than a reader of the recipe would think, as a line; empty if nobody does."""
        return "; ".join(f"of the crops {whose} learns from, {level.odd}" for whose, level in
                         (("the network", self._learnt), ("the architecture", self._held)) if level.odd)

    def decided(self) -> Arch:
        """What the preference amounts to now, within the budget if there is one."""
        return decide(self.supernet, self.bytes, self.recipe.cost.budget or None)

    def advance(self) -> dict[str, Any]:
        """Take one step.

        Returns:
            ``loss``, each of its terms, ``rate``; after a step of alpha its terms under ``guide``,
            besides ``bytes`` expected and ``entropy``.

        Raises:
            ConfigError: A loss or gradient is not a finite number. Weights and their average are as they
                were, and so is alpha if that was its own step's; if it was the weights', alpha has taken
                its step, if it had one to take. Running statistics may have moved: only a saved state is
                one to go on from.
        """
        recipe, how = self.recipe, self.recipe.preference
        settles = self.step >= recipe.steps - how.settle
        figures: dict[str, Any] = {}
        if not settles and self.step >= how.warm_up and (self.step - how.warm_up) % how.every == 0:
            figures["guide"] = self._step_alpha()
        if settles:
            self.supernet.follow(self.decided())
        else:
            with torch.no_grad():
                self._choose(0)
        rate = recipe.optimiser.at(self.step, recipe.steps)
        optimisers.set_rate(self._weights, rate)
        self._weights.zero_grad(set_to_none=True)
        terms = self._terms(self._learnt, recipe.losses, "the weights")
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = dict(self.supernet.network.named_parameters())
        self._world.average(list(parameters.values()))
        self._require_finite("the weights", {name: p.grad for name, p in parameters.items() if p.grad is not None})
        if recipe.optimiser.clip:
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), recipe.optimiser.clip, foreach=True)
        self._weights.step()
        self.step += 1
        if self._average is not None:
            optimisers.follow(self._average.network, self.supernet.network, self.step, recipe.optimiser)
        return {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}, "rate": rate, **figures}

    def batches(self, count: int) -> Iterator[Batch]:
        """As many batches of what the weights learn from, as they will come next after the last step."""
        for step in range(count):
            images, infrared, _ = self._learnt.at(self.recipe.steps + step)
            yield normalised(images, self._device), torch.from_numpy(infrared).to(self._device)

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, besides recipe and data."""
        return {"step": self.step, "supernet": self.supernet.state_dict(),
                "average": None if self._average is None else self._average.state_dict(),
                "weights": self._weights.state_dict(), "alpha": self._alpha.state_dict(),
                "torch": torch.get_rng_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Undo ``state``."""
        self.step = int(state["step"])
        self.supernet.load_state_dict(state["supernet"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._weights.load_state_dict(state["weights"])
        self._alpha.load_state_dict(state["alpha"])
        torch.set_rng_state(state["torch"])

    def require_finite(self) -> None:
        """Check everything before it replaces the last state that was good.

        Raises:
            ConfigError: Naming the first tensor that has left the numbers.
        """
        named = dict(self.supernet.state_dict())
        if self._average is not None:
            named |= {f"average of {name}": tensor for name, tensor in self._average.state_dict().items()}
        if not suspects.all_finite(named.values()):
            raise ConfigError(f"step {self.step}: expected finite weights, found others; the first is "
                              f"{suspects.first_tensor(named)}{_REMEDY}")

    def _sharpened(self) -> float:
        """How far choices are urged to be clear, from 0 to 1."""
        recipe = self.recipe
        begin = recipe.preference.sharpen_from * recipe.steps
        end = recipe.steps - recipe.preference.settle
        return min(1.0, max(0.0, (self.step - begin) / max(1.0, end - begin)))

    def _choose(self, level: int) -> None:
        """Tell the norms what they are in this step, for the weights (0) or for alpha (1)."""
        if self.recipe.preference.mode == "mix":
            self.supernet.spread(self.temperature)
            return
        rng = np.random.default_rng((self.recipe.seed, 4, self.step, level))
        noise = torch.from_numpy(rng.gumbel(size=tuple(self.supernet.alpha.shape))).to(self._device)
        self.supernet.sample(noise, self.temperature)

    def _step_alpha(self) -> dict[str, float]:
        recipe, alpha = self.recipe, self.supernet.alpha
        self.supernet.track(statistics=False)
        try:
            self._choose(1)
            terms = self._terms(self._held, recipe.guide, "alpha")
            table = self.supernet.probabilities(self.temperature)
            expected = self.bytes.shared + ((1 - table[:, 0]) * self._extra).sum()
            if recipe.cost.price:
                terms["price"] = recipe.cost.price * (expected - self.bytes.shared) / _UNIT
            if recipe.cost.budget:
                terms["budget"] = recipe.cost.pressure * torch.relu(expected - recipe.cost.budget) / _UNIT
            entropy = -torch.xlogy(table, table).sum(1).mean()
            if recipe.preference.entropy:
                terms["entropy_term"] = recipe.preference.entropy * self._sharpened() * entropy
            alpha.grad, = torch.autograd.grad(torch.stack(list(terms.values())).sum(), alpha)
            self._world.average([alpha])
        finally:
            self.supernet.track(statistics=True)
        self._require_finite("alpha", {"alpha": alpha.grad})
        self._alpha.step()
        return {**{name: term.item() for name, term in terms.items()}, "bytes": expected.item(),
                "entropy": entropy.item()}

    def _terms(self, level: Level, losses: Losses, whose: str) -> dict[str, Tensor]:
        """The weighted losses of this step's batch, of which this process embeds its share."""
        images, flags, classes = level.at(self.step)
        network, device = self.supernet.network, self._device
        inputs = normalised(images[level.mine], device), torch.from_numpy(flags[level.mine]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            features = Features(*(x.float() for x in network(*inputs)))
        if self._world.count > 1:
            back = torch.from_numpy(level.back).to(device)
            features = Features(*(gather(cast("Tensor", x))[back] for x in features))
        labels, infrared = torch.from_numpy(classes).to(device), torch.from_numpy(flags).to(device)
        terms = objective(features, network, labels, infrared, losses)
        if not suspects.all_finite(terms.values()):
            weights = suspects.first_tensor(dict(self.supernet.state_dict()))
            layer = None if weights else suspects.first_layer(network, *inputs)
            who = weights or (f"the output of {layer}" if layer else f"the term {suspects.first_tensor(terms)}")
            raise ConfigError(f"step {self.step + 1}: expected a finite loss of {whose}, found another; the first to "
                              f"leave the numbers is {who}{_REMEDY}")
        return terms

    def _require_finite(self, whose: str, gradients: dict[str, Tensor | None]) -> None:
        if not suspects.all_finite(gradient for gradient in gradients.values() if gradient is not None):
            raise ConfigError(f"step {self.step + 1}: expected a finite gradient of {whose}, found another; the first "
                              f"to leave the numbers is that of {suspects.first_tensor(gradients)}{_REMEDY}")
