"""The training loop: from a recipe to a checkpoint, through any number of interruptions.

What a step does follows from the recipe, the step's number and the saved state. So a run
that is stopped or killed and started again ends, on a CPU, with the very bits of a run that
was left alone.
"""

from __future__ import annotations

import copy
import math
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from train import checkpoint
from train.data.augment import augment
from train.data.batches import Batches
from train.data.crops import Crops
from train.data.drawn import draw
from train.evaluate import embed, normalised, score
from train.losses.objective import objective
from train.networks import Features, Network, build
from train.recipe import Optimiser, Recipe
from train.run import Run
from train.space import Arch

__all__ = ["fit", "learning_rate"]


def fit(recipe: Recipe, folder: Path, *, out: TextIO | None = None, stop_at: int | None = None) -> bool:
    """Train, or go on training.

    Args:
        recipe: What to do.
        folder: Of the run; see ``train.run``. A state found there is picked up.
        out: Where progress is told, standard error unless said otherwise.
        stop_at: Save and return once this step is done.

    Returns:
        True when the schedule ended, False when it was interrupted (Ctrl-C, ``stop_at``)
        with its state saved.

    Raises:
        ConfigError: The recipe cannot be carried out, or the loss left the numbers; the
            message names the step.
        BundleError: The checkpoint to start from cannot be read.
    """
    if recipe.train.overlaps(recipe.validation):
        raise ConfigError("recipe: expected other people in [validation] than in [train], found some in both; "
                          "change first_identity")
    run = Run(folder, recipe)
    try:
        with Progress("people drawn", out) as progress:
            learnt = draw(recipe.train, recipe.height, recipe.width, progress=progress)
        others = draw(recipe.validation, recipe.height, recipe.width)
        trainer = Trainer(recipe, learnt)
    except ValueError as error:
        raise ConfigError(f"recipe: {error}") from error
    meta = checkpoint.Checkpoint(height=recipe.height, width=recipe.width, seed=recipe.seed, commit=_commit(),
                                 data=learnt.fingerprint())
    state = run.resume()
    if state is not None:
        trainer.load_state(state)
    elif recipe.start is not None:
        trainer.start_from(recipe.start, meta.data)
    end = recipe.steps if stop_at is None else min(stop_at, recipe.steps)
    began = time.monotonic()
    with Progress("steps", out, first=trainer.step) as progress, _interruptible() as interrupted:
        while trainer.step < end and not interrupted():
            figures = trainer.advance()
            progress(trainer.step, recipe.steps, f"loss {figures['loss']:.3g}")
            last = trainer.step == recipe.steps
            minutes = round((time.monotonic() - began) / 60, 2)
            if last or trainer.step % recipe.evaluate_every == 0:
                found = score(embed(trainer.kept, others), others)
                run.note({"step": trainer.step, "minutes": minutes, "validation": found})
                progress.say(f"step {trainer.step}, rank-1/mAP: " + ", ".join(
                    f"{pair} {row['rank1']:.1f}/{row['mean_ap']:.1f}" for pair, row in found.items()))
            if last or trainer.step % recipe.checkpoint_every == 0:
                run.note({"step": trainer.step, "minutes": minutes, **figures})
                run.save(trainer.state())
                checkpoint.save(run.checkpoint_path, trainer.kept, meta)
        run.save(trainer.state())
        checkpoint.save(run.checkpoint_path, trainer.kept, meta)
    return trainer.step == recipe.steps


class Trainer:
    """A network on its way: one ``advance`` is one step."""

    def __init__(self, recipe: Recipe, crops: Crops) -> None:
        self.step = 0
        self._recipe, self._crops, self._classes = recipe, crops, crops.classes()
        torch.manual_seed(recipe.seed)
        self.network = build(Arch.uniform(recipe.backbone, recipe.norms), identities=int(self._classes.max()) + 1)
        _silence_branches(self.network)
        self.network.train()
        self.average = copy.deepcopy(self.network) if recipe.optimiser.average else None
        self._optimiser = _optimiser(self.network, recipe.optimiser)
        self._batches = Batches(crops.identity, crops.camera, crops.infrared, seed=recipe.seed,
                                identities_per_batch=recipe.identities_per_batch,
                                crops_per_modality=recipe.crops_per_modality)

    def start_from(self, path: Path, data: str) -> None:
        """Take over the weights of a checkpoint.

        Args:
            path: Of the checkpoint.
            data: Fingerprint of the crops learnt from now; the classifier is taken over
                only if it was taught on the same.

        Raises:
            ConfigError: It is of another architecture, or not there.
            BundleError: It cannot be read.
        """
        found, meta = checkpoint.load(path)
        if found.arch != self.network.arch:
            raise ConfigError(f"{path}: expected the architecture of the recipe ({self.network.arch.backbone}), found "
                              f"another one ({found.arch.backbone}); change recipe.start")
        taken = {name: tensor for name, tensor in found.state_dict().items()
                 if meta.data == data or not name.startswith("classifier.")}
        for network in filter(None, (self.network, self.average)):
            network.load_state_dict(taken, strict=False)

    @property
    def kept(self) -> Network:
        """The network to evaluate and ship: the moving average if there is one."""
        return self.network if self.average is None else self.average

    def advance(self) -> dict[str, float]:
        """Take one step.

        Returns:
            ``loss``, each of its terms, and ``rate``.

        Raises:
            ConfigError: The loss is not a finite number.
        """
        recipe = self._recipe
        share = recipe.curriculum.share(self.step)
        few, everybody = recipe.curriculum.identities, self._batches.people_count
        rows = self._batches.at(self.step, max(recipe.identities_per_batch, round(few + share * (everybody - few))))
        infrared = self._crops.infrared[rows]
        images = augment(self._crops.images[rows], infrared, recipe.augmentation.scaled(share),
                         np.random.default_rng((recipe.seed, 2, self.step)))
        rate = learning_rate(self.step, recipe.steps, recipe.optimiser)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        flags = torch.from_numpy(infrared)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            features = Features(*(x.float() for x in self.network(normalised(images), flags)))
        terms = objective(features, self.network, torch.from_numpy(self._classes[rows]), flags, recipe.losses)
        loss = torch.stack(list(terms.values())).sum()
        self.step += 1
        if not bool(torch.isfinite(loss)):
            raise ConfigError(f"step {self.step}: expected a finite loss, found {loss.item()}; lower optimiser.rate "
                              "or raise optimiser.warm_up")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        if self.average is not None:
            # Early on the average follows closely: the first steps are not worth remembering.
            decay = min(recipe.optimiser.average, self.step / (self.step + 10))
            kept, fresh = list(self.average.state_dict().values()), list(self.network.state_dict().values())
            torch._foreach_lerp_(kept, fresh, 1 - decay)
        return {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}, "rate": rate}

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
        self._optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["torch"])


def learning_rate(step: int, steps: int, optimiser: Optimiser) -> float:
    """Linear warm-up, then half a cosine that reaches zero after the last of ``steps``."""
    warm = min(1.0, (step + 1) / optimiser.warm_up) if optimiser.warm_up else 1.0
    done = max(0.0, (step - optimiser.warm_up) / max(1, steps - optimiser.warm_up))
    return optimiser.rate * warm * 0.5 * (1 + math.cos(math.pi * done))


def _silence_branches(network: Network) -> None:
    """Start every residual branch at zero, so that the network begins shallow (Goyal et al., arXiv 1706.02677)."""
    for site in network.sites():
        if site.name.endswith((".conv3.bn", ".bn3")):
            for name, parameter in site.norm.named_parameters():
                if name.endswith("weight"):
                    torch.nn.init.zeros_(parameter)


def _optimiser(network: Network, how: Optimiser) -> torch.optim.Optimizer:
    # Scales, shifts and biases are not pulled to zero: behind a norm that shrinks features, not complexity.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": how.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    if how.kind == "sgd":
        return torch.optim.SGD(groups, how.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, how.rate, foreach=True)


def _commit() -> str:
    """The checkout's commit, marked when files differ from it; "unknown" without git."""
    here = Path(__file__).parent
    try:
        return subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], cwd=here,
                              capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C asks to stop after the step; the second one is Python's own."""
    asked = False
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, before)

    try:
        signal.signal(signal.SIGINT, stop)
    except ValueError:  # not in the main thread: nobody presses Ctrl-C here
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)

