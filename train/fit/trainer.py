"""A network on its way: what one step does, on one device or several, in one piece or several.

What a step does follows from the recipe, the step's number and the saved state, and from nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cmnas_edge.errors import ConfigError
from train.data.ahead import Ahead
from train.data.augment import augment
from train.data.batches import Batches, Sampler, Shuffled
from train.data.crops import I64, U8, Crops
from train.evaluate import normalised
from train.fit import optimisers, suspects
from train.fit.distributed import ALONE, World, gather, synchronise
from train.fit.recipe import Recipe
from train.losses.objective import objective
from train.networks import checkpoint, importers
from train.networks.build import Features, Network, adopt, build

__all__ = ["Trainer", "silence_branches"]

_CPU = torch.device("cpu")


class Trainer:
    """A network, its average and its optimiser: one ``advance`` is one step.

    Args:
        recipe: What to do.
        crops: What to learn from.
        device: What computes.
        world: Which processes take each step together; all of them call ``advance``.
        workers: Threads that make the next batches while a step computes; what is made is the same.

    Raises:
        ConfigError: The architecture cannot be had.
        ValueError: The crops do not make the batches asked for, these cannot be shared by so many pieces
            and processes, or the backbone is unknown.
    """

    def __init__(self, recipe: Recipe, crops: Crops, *, device: torch.device = _CPU, world: World = ALONE,
                 workers: int = 0) -> None:
        self.step = 0
        self._recipe, self._crops, self._classes = recipe, crops, crops.classes()
        self._device, self._world = device, world
        torch.manual_seed(recipe.seed)
        self.network = build(recipe.architecture(), identities=int(self._classes.max()) + 1)
        silence_branches(self.network)
        self.network.to(device)
        self.average = copy.deepcopy(self.network) if recipe.optimiser.average else None
        if world.count > 1:
            synchronise(self.network)
        self._learning = frozenset(name for name, p in self.network.named_parameters() if p.requires_grad)
        self._optimiser = optimisers.make(self.network, recipe.optimiser)
        self.batches = _batches(recipe, crops)
        shares = [self.batches.share(part, recipe.pieces * world.count)
                  for part in range(recipe.pieces * world.count)]
        # A piece of a batch is what all processes take at once: one share each.
        self._pieces = [shares[at:at + world.count] for at in range(0, len(shares), world.count)]
        self._ahead = Ahead(self._batch, end=recipe.until or recipe.steps, workers=workers)
        self._freeze()

    def close(self) -> None:
        """End the threads that make batches."""
        self._ahead.close()

    def start_from(self, path: Path, data: str) -> str:
        """Take over the weights of a checkpoint, or of another project's file as the recipe's format says.

        Args:
            path: Of the file.
            data: Fingerprint of the crops learnt from now; the classifier is taken over
                only if it was taught on the same.

        Returns:
            What a reader should know: that they are of another architecture, and so adopted as
            `train.networks.build.adopt` has it; empty where they are of this one.

        Raises:
            ConfigError: It is of another backbone, or not there.
            BundleError: It cannot be read.
        """
        network = self.network
        if self._recipe.start_format == "checkpoint":
            found, meta = checkpoint.load(path)
            if found.arch != network.arch:
                return self._adopt(found, path, classifier=meta.data == data)
            taken = {name: tensor for name, tensor in found.state_dict().items()
                     if meta.data == data or not name.startswith("classifier.")}
        else:
            # What is fresh there is not taken over.
            found, _, fresh = importers.read(path, self._recipe.start_format, network.arch,
                                             identities=network.identities)
            taken = {name: tensor for name, tensor in found.state_dict().items()
                     if name not in fresh and not name.startswith("classifier.")}
        for each in filter(None, (network, self.average)):
            each.load_state_dict(taken, strict=False)
        return ""

    def _adopt(self, found: Network, path: Path, *, classifier: bool) -> str:
        """Start from a network of another architecture; in words, how."""
        mine = self.network.arch
        try:
            fresh, _ = adopt(found, self.network, classifier=classifier)
            if self.average is not None:
                adopt(found, self.average, classifier=classifier)
        except ConfigError as error:
            raise ConfigError(f"{path}: {str(error).removeprefix('start: ')}") from error
        own = [name for name in fresh if not name.startswith("classifier.")]
        said = (f"{path.name} is of another architecture ({mine.differences(found.arch)}): what it shares begins every "
                "branch")
        return said + (f"; {len(own)} tensors that it lacks begin afresh, such as {own[0]}" if own else "")

    @property
    def kept(self) -> Network:
        """The network to evaluate and ship: the moving average, unless it is there to be gone on from."""
        return self.network if self.average is None or self._recipe.optimiser.reload_average else self.average

    def advance(self) -> dict[str, float]:
        """Take one step.

        Returns:
            ``loss``, each of its terms, and ``rate``.

        Raises:
            ConfigError: The loss or its gradient is not a finite number; weights are as they were.
        """
        recipe, how = self._recipe, self._recipe.optimiser
        self._freeze()
        if how.reload_average and self.step and self.step % recipe.evaluate_every == 0 and self.average is not None:
            self.network.load_state_dict(self.average.state_dict())
        rows, images = self._ahead.at(self.step)
        rate = how.at(self.step, recipe.steps)
        optimisers.set_rate(self._optimiser, rate)
        self._optimiser.zero_grad(set_to_none=True)
        self.step += 1
        sums: dict[str, float] = {}
        for shares in self._pieces:
            terms = self._terms(rows, images, shares)
            loss = torch.stack(list(terms.values())).sum() / recipe.pieces
            loss.backward()  # type: ignore[no-untyped-call]
            sums["loss"] = sums.get("loss", 0.0) + loss.item()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.item() / recipe.pieces
        parameters = list(self.network.parameters())
        self._world.average(parameters)
        self._require_finite_gradients(parameters)
        if how.clip:
            torch.nn.utils.clip_grad_norm_(parameters, how.clip, foreach=True)
        self._optimiser.step()
        if self.average is not None:
            optimisers.follow(self.average, self.network, self.step, how)
        return {**sums, "rate": rate}

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, besides recipe and data."""
        return {"step": self.step, "network": self.network.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimiser": self._optimiser.state_dict(), "torch": torch.get_rng_state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Undo ``state``."""
        self.step = int(state["step"])
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        factors = [group["factor"] for group in self._optimiser.param_groups]
        self._optimiser.load_state_dict(state["optimiser"])
        for group, factor in zip(self._optimiser.param_groups, factors, strict=True):
            group["factor"] = factor  # a state of version 0.1.0 has none
        torch.set_rng_state(state["torch"])

    def require_finite(self) -> None:
        """Check weights, statistics and average before they replace the last state that was good.

        Raises:
            ConfigError: Naming the first of them that has left the numbers.
        """
        named = dict(self.network.state_dict())
        if self.average is not None:
            named |= {f"average of {name}": tensor for name, tensor in self.average.state_dict().items()}
        if not suspects.all_finite(named.values()):
            raise ConfigError(f"step {self.step}: expected finite weights, found others; the first is "
                              f"{suspects.first_tensor(named)}{_REMEDY}")

    def _batch(self, step: int) -> tuple[I64, U8]:
        """Rows of the crops that a step learns from, and what it sees of them."""
        recipe = self._recipe
        share = recipe.curriculum.share(step)
        few, everybody = recipe.curriculum.identities, self.batches.people_count
        rows = self.batches.at(step, max(recipe.identities_per_batch, round(few + share * (everybody - few))))
        return rows, augment(self._crops.images[rows], self._crops.infrared[rows], recipe.augmentation.scaled(share),
                             np.random.default_rng((recipe.seed, 2, step)))

    def _terms(self, rows: I64, images: U8, shares: Sequence[I64]) -> dict[str, Tensor]:
        """The weighted losses of a piece of the batch, of which this process embeds its share."""
        device, world = self._device, self._world
        mine, together = shares[world.rank], np.concatenate(shares)
        flags = torch.from_numpy(self._crops.infrared[rows[mine]]).to(device)
        inputs = normalised(images[mine], device), flags
        with torch.autocast(device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16"):
            features = Features(*(x.float() for x in self.network(*inputs)))
        if world.count > 1:
            back = torch.from_numpy(np.argsort(together)).to(device)
            features = Features(*(gather(cast("Tensor", x))[back] for x in features))
        rows = rows[np.sort(together)]
        labels = torch.from_numpy(self._classes[rows]).to(device)
        infrared = torch.from_numpy(self._crops.infrared[rows]).to(device)
        terms = objective(features, self.network, labels, infrared, self._recipe.losses)
        if not suspects.all_finite(terms.values()):
            total = torch.stack(list(terms.values())).sum().item()
            weights = suspects.first_tensor(dict(self.network.named_parameters()))
            layer = None if weights else suspects.first_layer(self.network, *inputs)
            who = weights or (f"the output of {layer}" if layer else f"the term {suspects.first_tensor(terms)}")
            raise ConfigError(f"step {self.step}: expected a finite loss, found {total}; the first to leave the "
                              f"numbers is {who}{_REMEDY}")
        return terms

    def _require_finite_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        if not suspects.all_finite(p.grad for p in parameters if p.grad is not None):
            who = suspects.first_tensor({name: p.grad for name, p in self.network.named_parameters()})
            raise ConfigError(f"step {self.step}: expected a finite gradient, found another; the first to leave the "
                              f"numbers is that of {who}{_REMEDY}")

    def _freeze(self) -> None:
        optimisers.freeze(self.network, self._learning,
                          classifier_only=self.step < self._recipe.optimiser.classifier_first)


_REMEDY = "; lower optimiser.rate or raise optimiser.warm_up; the last saved state is kept"


def _batches(recipe: Recipe, crops: Crops) -> Sampler:
    if recipe.draw == "shuffled":
        return Shuffled(crops.identity, size=2 * recipe.identities_per_batch * recipe.crops_per_modality,
                        seed=recipe.seed)
    return Batches(crops.identity, crops.camera, crops.infrared, seed=recipe.seed, draw=recipe.draw,
                   identities_per_batch=recipe.identities_per_batch, crops_per_modality=recipe.crops_per_modality)


def silence_branches(network: Network) -> None:
    """Start every residual branch at zero, so that the network begins shallow (Goyal et al., arXiv 1706.02677)."""
    for site in network.norms():
        if site.name.endswith((".conv3.bn", ".bn3")):
            for name, parameter in site.norm.named_parameters():
                if name.endswith("weight"):
                    torch.nn.init.zeros_(parameter)
