"""Every run the evidence is made of, as data. A run is made once; its name says what it is.

One base setting for all: OSNet x0.25, 128x64, the people of `train.evidence.sets`, `STEPS` steps of
`P` people with `K` crops per modality, from the same start: a network, all norms shared, that was
taught on other people under visible cameras only. It plays the part that ImageNet's weights play in
the papers: it has learnt to see, and nothing about infrared. What changes the network itself (OSNet's own
argument) cannot begin there and learns from nothing instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal

import msgspec

from train.data.augment import Augmentation
from train.data.drawn import Drawn
from train.fit.optimisers import Optimiser
from train.fit.recipe import Recipe
from train.fit.schedule import Curriculum
from train.losses.objective import Losses
from train.networks.design import RELEASED, Design
from train.search.recipe import HeldOut, Preference, SearchRecipe

__all__ = ["BACKBONE", "GROUPS", "LOSSES", "SEARCHES", "START", "STEPS", "Fit", "Search", "Work", "plan", "recipe",
           "search_recipe"]

BACKBONE = "osnet_x0_25"
STEPS = 1000
P, K = 16, 2

LOSSES = {
    "base": Losses(triplet=0.0, contrast=1.0),
}
_C3MMD: dict[str, dict[str, Any]] = {
    "c3mmd": {"cmmd": 0.05, "sp": 5.0}, "cmmd": {"cmmd": 0.05}, "sp": {"sp": 5.0}}
# What can guide an architecture over people without a classifier.
LOSSES["metric"] = msgspec.structs.replace(LOSSES["base"], cross_entropy=0.0)
LOSSES |= {f"{kind} + {name}": msgspec.structs.replace(LOSSES[kind], **weights)
           for kind in ("base", "metric") for name, weights in _C3MMD.items()}

_FROM_NOTHING = Optimiser(rate=3e-3, warm_up=50, average=0.998)
_FROM_START = Optimiser(rate=2e-3, warm_up=100, average=0.995)
_AUGMENTATION = Augmentation(shift=0.05, zoom_out=0.2, erase=0.15, exchange=0.5, tone=0.12)

# Few enough that every one of the 32 architectures they make can be trained.
GROUPS = {"conv1": ("conv1",), "conv2": ("conv2",), "conv3": ("conv3",), "conv4": ("conv4",), "tail": ("conv5", "fc")}
_SHORT_STEPS = 200

SEARCHES = ("search 0", "search 1", "search 2")
"""Searches that differ by their seed alone."""
START = "start"
_START_STEPS = 4000


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """One network to train and score.

    Attributes:
        name: Unlike any other's.
        question: What it helps to answer.
        label: The row it stands in; runs that differ by seed alone share it.
        scheme: Where norms are split: ``shared``, ``split``, ``split_statistics``; a name of
            `train.networks.schemes.scheme`; ``searched NAME``, what that search found; ``random NAME``, as
            many sites as it split, drawn by the seed; ``voted``, what most of `SEARCHES` split; ``groups CODE``, 1
            for each of `GROUPS` split.
        start: Name of the run to begin with; empty to begin from nothing.
        seed: Of classifier, batches and augmentation.
        data: One of ``train.evidence.sets.SETS``.
        tested: The set whose unseen people it is scored on; its own if empty.
        design: Of the network.
        losses: One of `LOSSES`.
        exchange: Share of the visible crops that lose their colours in training.
        steps: Of training.
    """

    name: str
    question: str
    label: str
    scheme: str
    start: str = START
    seed: int = 0
    data: str = "sysu-like"
    tested: str = ""
    design: Design = RELEASED
    losses: str = "base"
    exchange: float = _AUGMENTATION.exchange
    steps: int = STEPS

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of runs that come before."""
        if self.scheme == "voted":
            return (self.start, *SEARCHES)
        found = self.scheme.partition(" ")[2] if self.scheme.startswith(("searched ", "random ")) else ""
        return tuple(name for name in (self.start, found) if name)

    @property
    def cost(self) -> float:
        """How long it takes, in steps of the released network."""
        streams = self.design.streams * (self.design.streams + 1) / 20
        return self.steps * (0.4 + 0.6 * streams) * (1 if self.design.lite else 1.5) + 100


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """One search.

    Attributes:
        name: Unlike any other's.
        question: What it helps to answer.
        seed: Of everything.
        data: One of ``train.evidence.sets.SETS``.
        level: What chooses together: ``site``, or ``groups`` for `GROUPS`.
        losses: Of the weights, one of `LOSSES`.
        guide: Of the architecture, one of `LOSSES`.
        steps: Of the weights.
        crops: Of each person and modality in a batch, which holds as many crops in all whatever this is. With
            one, whoever shall be found is always of the other modality.
    """

    name: str
    question: str
    seed: int = 0
    data: str = "sysu-like"
    level: Literal["site", "groups"] = "site"
    losses: str = "base"
    guide: str = "metric"
    steps: int = STEPS
    crops: int = K
    start: str = START

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of runs that come before."""
        return (self.start,)

    @property
    def cost(self) -> float:
        """How long it takes, in steps of the released network."""
        return 1.9 * self.steps


Work = Fit | Search


def plan() -> tuple[Work, ...]:
    """Every run, the more telling ones first; what a run needs stands before it."""
    found = tuple(_plan())
    names = [work.name for work in found]
    assert len(set(names)) == len(names)
    return found


def _plan() -> Iterator[Work]:
    yield Fit(name=START, question="start", label="start", scheme="shared", start="", seed=11, data="before",
              tested="sysu-like", steps=_START_STEPS)
    yield from _sites()
    yield from _control()
    yield from _why()
    yield from _stress()
    yield from _c3mmd()
    yield from _near_the_best()
    yield from _transfer()
    yield from _omni_scale()
    yield from _sizes()


def _sites() -> Iterator[Work]:
    """Where it pays to split, three seeds for what matters most."""
    for seed, search in enumerate(SEARCHES):
        yield Search(name=search, question="sites", seed=seed)
        for label in ("shared", "split"):
            yield Fit(name=f"sites/{label}/{seed}", question="sites", label=label, scheme=label, seed=seed)
        yield Fit(name=f"sites/searched/{seed}", question="sites", label="searched", scheme=f"searched {search}",
                  seed=seed)
        yield Fit(name=f"sites/random/{seed}", question="sites", label="random", scheme=f"random {search}", seed=seed)
    for seed in range(3):
        yield Fit(name=f"sites/voted/{seed}", question="sites", label="voted", scheme="voted", seed=seed)
    for label in ("split_statistics", "stem", "early_half", "late_half"):
        yield Fit(name=f"sites/{label}", question="sites", label=label, scheme=label)
    for seed in (1, 2):  # with a single seed it looked best of all
        yield Fit(name=f"sites/early_half/{seed}", question="sites", label="early_half", scheme="early_half", seed=seed)
    for count in range(1, 5):
        yield Fit(name=f"sites/own {count}", question="sites", label=f"own {count}", scheme="shared",
                  design=Design(own=count))
        if count > 1:  # the first part has one norm, the stem's
            yield Fit(name=f"sites/first_{count}", question="sites", label=f"first_{count}", scheme=f"first_{count}")


def _control() -> Iterator[Work]:
    """Two kinds of camera that are one kind: sharing must win, and the search must say so."""
    yield Search(name="search without a gap", question="control", data="no gap")
    for label, scheme in (("shared", "shared"), ("split", "split"), ("searched", "searched search without a gap")):
        yield Fit(name=f"control/{label}", question="control", label=label, scheme=scheme, data="no gap")


def _why() -> Iterator[Work]:
    """What could hide the worth of a split: lost colours, a short training, a search guided within modalities, too."""
    yield Search(name="search across", question="why", crops=1)
    for seed in range(3):
        yield Fit(name=f"why/searched across/{seed}", question="why", label="searched across",
                  scheme="searched search across", seed=seed)
    for label in ("shared", "split"):
        for seed in range(3):
            yield Fit(name=f"why/{label}, colours kept/{seed}", question="why", label=f"{label}, colours kept",
                      scheme=label, seed=seed, exchange=0.0)
        yield Fit(name=f"why/{label}, {3 * STEPS} steps", question="why", label=f"{label}, {3 * STEPS} steps",
                  scheme=label, steps=3 * STEPS)


def _stress() -> Iterator[Work]:
    """Whether a split pays where the modalities differ by more of what a norm can undo than real ones do; two seeds."""
    yield Search(name="search under stress", question="stress", data="stress")
    schemes = (("shared", "shared"), ("split", "split"), ("searched", "searched search under stress"))
    for seed in range(2):
        for label, scheme in schemes:
            yield Fit(name=f"stress/{label}/{seed}", question="stress", label=label, scheme=scheme, seed=seed,
                      data="stress")


def _c3mmd() -> Iterator[Work]:
    """C3MMD in the search, in the training after it, in both, in neither; and its two terms alone."""
    yield Search(name="search with c3mmd", question="c3mmd", losses="base + c3mmd", guide="metric + c3mmd")
    for found, losses in product(("search 0", "search with c3mmd"), ("base", "base + c3mmd")):
        if (found, losses) != ("search 0", "base"):  # stands among the sites
            yield Fit(name=f"c3mmd/{found}, {losses}", question="c3mmd", label=f"{found}, {losses}",
                      scheme=f"searched {found}", losses=losses)
    for losses in ("base + cmmd", "base + sp"):
        yield Fit(name=f"c3mmd/search 0, {losses}", question="c3mmd", label=f"search 0, {losses}",
                  scheme="searched search 0", losses=losses)


def _near_the_best() -> Iterator[Work]:
    """All 32 architectures of five groups, trained shortly; a search over the same five."""
    yield Search(name="search of five groups", question="near the best", level="groups")
    for code in ("".join(bits) for bits in product("01", repeat=len(GROUPS))):
        yield Fit(name=f"near the best/{code}", question="near the best", label=code, scheme=f"groups {code}",
                  steps=_SHORT_STEPS)


def _transfer() -> Iterator[Work]:
    """An architecture found on one kind of data, used on the other."""
    yield Search(name="search regdb-like", question="transfer", data="regdb-like")
    for found in ("search 0", "search regdb-like"):
        yield Fit(name=f"transfer/{found} on regdb-like", question="transfer", label=f"{found} on regdb-like",
                  scheme=f"searched {found}", data="regdb-like")
    yield Fit(name="transfer/search regdb-like on sysu-like", question="transfer",
              label="search regdb-like on sysu-like", scheme="searched search regdb-like")


def _omni_scale() -> Iterator[Work]:
    """OSNet's own argument: streams, fusion, Lite. From nothing, all norms split."""
    designs = {"released": RELEASED, **{f"T = {t}": Design(streams=t) for t in (1, 2, 3)},
               **{fusion: Design(fusion=fusion) for fusion in ("gate_per_stream", "scalar_gate", "fixed", "sum")},
               "full 3x3": Design(lite=False)}
    for label, design in designs.items():
        yield Fit(name=f"omni-scale/{label}", question="omni-scale", label=label, scheme="split", design=design,
                  start="")


def _sizes() -> Iterator[Work]:
    """How many people a network must have met."""
    for count in (50, 100, 200):
        yield Fit(name=f"sizes/{count}", question="sizes", label=f"{count}", scheme="split",
                  data=f"sysu-like {count}")


def search_recipe(search: Search, start: Path) -> SearchRecipe:
    """What a search does; ``start`` is the checkpoint it begins with."""
    unread = Drawn(identities=1)
    return SearchRecipe(
        backbone=BACKBONE, seed=search.seed, start=start, steps=search.steps, precision="bf16",
        identities_per_batch=P * K // search.crops, crops_per_modality=search.crops, train=unread,
        validation=unread, recalibrate=30,
        # A quarter of the people, as SYSU-MM01's 99 of 395, whom the weights never see.
        held_out=HeldOut(by="identity", share=0.25), augmentation=_AUGMENTATION, losses=LOSSES[search.losses],
        guide=LOSSES[search.guide], preference=Preference(rate=1e-2, warm_up=search.steps // 5),
        optimiser=_FROM_START)


def recipe(fit: Fit, arch: Path) -> Recipe:
    """What trains a run; ``arch`` is the file of its architecture."""
    scratch = not fit.start
    return Recipe(
        backbone=BACKBONE, arch=arch, seed=fit.seed, steps=fit.steps, precision="bf16", identities_per_batch=P,
        crops_per_modality=K, train=Drawn(identities=1),  # not read: evidence draws its own sets
        curriculum=Curriculum(identities=120, hold=400, grow=600) if scratch else Curriculum(),
        augmentation=msgspec.structs.replace(_AUGMENTATION, exchange=fit.exchange), losses=LOSSES[fit.losses],
        optimiser=_FROM_NOTHING if scratch else _FROM_START)
