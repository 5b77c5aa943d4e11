"""One run of the plan, from its line in the plan to its line in the records."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import torch

from cmnas_edge.errors import ConfigError, DiskFull
from train.data.crops import Crops
from train.discrepancy import discrepancy
from train.evaluate import embed, score
from train.evidence import gates, scores, sets
from train.evidence.plan import BACKBONE, GROUPS, SEARCHES, START, Fit, K, P, Search, Work, recipe, search_recipe
from train.evidence.records import machine, packed
from train.fit.trainer import Trainer
from train.networks import checkpoint
from train.networks.build import Network, adopt
from train.networks.design import RELEASED
from train.networks.schemes import SCHEMES, groups, scheme
from train.networks.space import CHOICES, Arch
from train.search.bilevel import Searcher
from train.search.derive import probabilities, score_arch_in_supernet

__all__ = ["TRACKED", "arch_of", "checkpoint_path", "make", "weights_digest"]

TRACKED = Path(__file__).with_name("start.safetensors")
"""The start as the records have it, without its classifier, so that whoever goes on begins with the same numbers."""

Found = Mapping[str, Mapping[str, Any]]
Tell = Callable[[int, int], None]

_MET = 96  # training identities that are scored, too, to see the gap between met and unmet people


def make(work: Work, folder: Path, found: Found, tell: Tell) -> dict[str, Any]:
    """Do one run.

    Args:
        work: Which.
        folder: Where networks are kept between runs.
        found: Records of the runs it needs, by name.
        tell: Called with (steps done, steps in all).

    Returns:
        Its record.

    Raises:
        ConfigError: The network it starts from is not in ``folder``, or another one.
    """
    torch.set_num_threads(1)
    began = time.monotonic()
    row = _fit(work, folder, found, tell) if isinstance(work, Fit) else _search(work, folder, found, tell)
    return {"run": work.name, "question": work.question, "seed": work.seed, "steps": work.steps,
            "batch": 2 * P * K, "input": f"{sets.HEIGHT}x{sets.WIDTH}", "seconds": round(time.monotonic() - began),
            **machine(), **row}


def arch_of(fit: Fit, found: Found) -> Arch:
    """The architecture a run trains; what a search found is read from that search's record.

    Raises:
        ValueError: The scheme is none.
    """
    kind, _, rest = fit.scheme.partition(" ")
    if fit.scheme in CHOICES:
        return Arch.uniform(BACKBONE, fit.scheme, design=fit.design)
    if kind in ("searched", "random"):
        split = list(found[rest]["split"])
        if kind == "random":
            every = list(groups(BACKBONE, "site", fit.design))
            split = random.Random(fit.seed).sample(every, len(split))
    elif kind == "voted":
        split = [site for site in groups(BACKBONE, "site", fit.design)
                 if 2 * sum(site in found[name]["split"] for name in SEARCHES) > len(SEARCHES)]
    elif kind == "groups":
        split = _of_code(rest)
    elif fit.scheme in SCHEMES:
        split = list(scheme(fit.scheme, BACKBONE, fit.design))
    else:
        raise ValueError(f"{fit.name}: expected a scheme, got {fit.scheme!r}")
    return Arch.of(BACKBONE, dict.fromkeys(split, "split"), design=fit.design)


def checkpoint_path(folder: Path, name: str) -> Path:
    """Where the network of a run is written."""
    return folder / (name.replace("/", ", ") + ".safetensors")


def weights_digest(network: Network) -> str:
    """SHA-256 over the backbone's tensors by name, as 64 hex digits; the classifier is nobody's business."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.backbone.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fit(fit: Fit, folder: Path, found: Found, tell: Tell) -> dict[str, Any]:
    arch = arch_of(fit, found)
    arch_path = checkpoint_path(folder, fit.name).with_suffix(".arch.json")
    try:
        arch_path.write_text(arch.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise DiskFull(f"{folder}: expected room for networks, found none ({error.strerror}); make some, or choose "
                       "another --folder") from error
    learnt = _drawn(fit.data)
    trainer = Trainer(recipe(fit, arch_path), learnt)
    if fit.start:
        start = _start(folder, fit.start, found)
        for network in filter(None, (trainer.network, trainer.average)):
            adopt(start, network, classifier=False)
    populations = _unmet(fit.tested or fit.data)
    before = _apart(trainer.kept, populations) if fit.start else None
    began = time.process_time()
    while trainer.step < fit.steps:
        trainer.advance()
        tell(trainer.step, fit.steps)
    training_cpu_s = round(time.process_time() - began, 1)
    network = trainer.kept
    scored = scores.figures(network, populations)
    path = checkpoint_path(folder, fit.name)
    checkpoint.save(path, network, checkpoint.Checkpoint(
        height=sets.HEIGHT, width=sets.WIDTH, seed=fit.seed, commit=machine()["commit"], data=learnt.fingerprint()))
    met = learnt.take(learnt.identity < learnt.identity.min() + _MET)
    row: dict[str, Any] = {
        "summary": scores.summary(scored["pairs"]), "training_cpu_s": training_cpu_s,
        "label": fit.label, "scheme": fit.scheme, "data": fit.data, "losses": fit.losses, "start": fit.start,
        "split": [site for site, choice in arch.choices if choice != "shared"],
        "arch": json.loads(arch.to_json()), "people": len(set(learnt.identity.tolist())),
        "pairs": scored["pairs"], "met": scores.figures(network, [met])["pairs"],
        "queries": {"each": len(scored["queries"]["rank1"]) // sum(len(set(c.identity.tolist())) for c in populations),
                    **{name: packed(values) for name, values in scored["queries"].items()}},
        "weights": weights_digest(network)}
    if fit.start:
        row["apart"] = {"before": before, "after": _apart(network, populations)}
    if fit.data.startswith("sysu-like"):
        row["slices"] = scores.slices(network, populations, _look_alikes())
    if fit.question == "omni-scale" and fit.design == RELEASED:
        row["gates"] = gates.weights(network, populations[0], scores.views(populations[0])[1])
    return row


def _search(search: Search, folder: Path, found: Found, tell: Tell) -> dict[str, Any]:
    path = _begun_at(folder, search.start)
    _start(folder, search.start, found)  # refuses another network
    stages = {name: tuple(site for stage in some for site in scheme(stage, BACKBONE)) for name, some in GROUPS.items()}
    learnt = _drawn(search.data)
    searcher = Searcher(search_recipe(search, path), learnt, together=stages if search.level == "groups" else None)
    searcher.start_from_file()
    began = time.process_time()
    while searcher.step < search.steps:
        searcher.advance()
        tell(searcher.step, search.steps)
    training_cpu_s = round(time.process_time() - began, 1)
    supernet, arch, others = searcher.kept, searcher.decided(), _validation(search.data)
    batches = list(searcher.batches(searcher.recipe.recalibrate))
    supernet.spread(searcher.temperature)
    mixed = score(embed(supernet.network, others), others)[scores.ASKED]["mean_ap"]

    def derived(one: Arch) -> float:
        return score_arch_in_supernet(supernet, one, others, batches=batches)[scores.ASKED]["mean_ap"]

    split = [site for site, choice in arch.choices if choice != "shared"]
    row: dict[str, Any] = {
        "training_cpu_s": training_cpu_s, "data": search.data, "losses": search.losses, "guide": search.guide,
        "probabilities": {site: round(1 - row["shared"], 4) for site, row in probabilities(supernet).items()},
        "split": split, "supernet": mixed, "derived": derived(arch),
        "summary": f"{len(split)} of {len(arch.choices)} sites split; mAP {mixed:.1f} as a mix"}
    if search.level == "groups":
        codes = ["".join(bits) for bits in product("01", repeat=len(GROUPS))]
        archs = {code: Arch.of(BACKBONE, dict.fromkeys(_of_code(code), "split")) for code in codes}
        row["scores"] = {code: derived(one) for code, one in archs.items()}
        row["code"] = next(code for code, one in archs.items() if one == arch)
    return row


def _of_code(code: str) -> list[str]:
    return [site for bit, stages in zip(code, GROUPS.values(), strict=True) if bit == "1"
            for stage in stages for site in scheme(stage, BACKBONE)]


def _apart(network: Network, populations: list[Crops]) -> dict[str, float]:
    """How far the modalities of unseen people lie apart, averaged over populations."""
    found = [discrepancy(embed(network, crops), crops.identity, crops.infrared) for crops in populations]
    return {name: round(sum(getattr(one, name) for one in found) / len(found), 5)
            for name in ("class_mmd", "between", "similarity")}


def _begun_at(folder: Path, name: str) -> Path:
    """The network a run begins with: of this folder, or the tracked one where nobody has made it here."""
    path = checkpoint_path(folder, name)
    return TRACKED if name == START and not path.exists() else path


def _start(folder: Path, name: str, found: Found) -> Network:
    path = _begun_at(folder, name)
    network, _ = checkpoint.load(path)
    expected, digest = found[name]["weights"], weights_digest(network)
    if digest != expected:
        raise ConfigError(f"{path}: expected the network of the record ({expected[:12]}), found another one "
                          f"({digest[:12]}); delete it and the line of {name!r} in the records, or restore it")
    return network


@lru_cache(maxsize=1)
def _validation(like: str) -> Crops:
    return sets.validation(like)


@lru_cache(maxsize=2)
def _drawn(name: str) -> Crops:
    return sets.drawn(name)


@lru_cache(maxsize=2)
def _unmet(like: str) -> list[Crops]:
    return sets.unmet(like)


@lru_cache(maxsize=1)
def _look_alikes() -> Crops:
    return sets.look_alikes()
