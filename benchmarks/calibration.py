"""What is a score worth, by which method, and what does a site gain from calibrating itself?

Run it with ``python -m benchmarks.calibration``. People are drawn, and embedded by the bundle that ships.

**Methods**: evidence is found on 96 people of one world and judged on 96 of another, other cameras too.
*Lost* is the share of the uncertainty, at a prior of 0.01, that the evidence leaves (normalised cross-entropy; 1 knows
no more than the prior). mAP is that of a mixed gallery in which everybody asks: all right answers, and those across
modalities alone. *Cosine* and *z-norm* (impostors' mean and deviation; Auckenthaler et al. 2000) give no
probability; *isotonic* is regression by pool-adjacent-violators (Zadrozny and Elkan, KDD 2002); *line* is ours.

**Sites**: of other worlds. People come past six cameras twice, three in view together, each time a tracklet of three
pictures. The site is calibrated by ``cmnas-edge collector calibrate``'s own functions from half of its people, and
judged on the others: strangers who match and people who are missed at the threshold, by the bundle's calibration and
by the site's. *Confirmed all*: an operator confirmed every tracklet of those people. *Confirmed as suggested*: only
links that reached the abstain band of the bundle, which is all that an operator is shown. ``--journal FOLDER``
measures nothing: it writes the first site as a collector keeps it, to try the command itself on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.bundle import Bundle, Drawn, default_path
from cmnas_edge.bundle.pictures import draw
from cmnas_edge.calibration import PAIRS, Calibration, Pair, pair
from cmnas_edge.calibration.fit import Plan, Scores, line
from cmnas_edge.collector.calibrating_commands import refine
from cmnas_edge.collector.matching.identity import Link
from cmnas_edge.collector.store.journal import Arrival, Decision, Journal
from cmnas_edge.collector.witnesses import Said, Seen, witnessed
from cmnas_edge.embedding import MODALITIES, Modality, unit
from cmnas_edge.engine import open_engine
from cmnas_edge.retrieval import error_rates, evaluate
from cmnas_edge.sighting import Gap, Sighting
from cmnas_edge.validation import F32, U8
from export.calibrate import CHECK_SEED, WORLD_SEED, calibration, drawn_people, embedded, scores
from export.calibration_report import lost
from train.protocols.embeddings import Embeddings

__all__ = ["isotonic", "main", "site"]

F64 = npt.NDArray[np.float64]
Evidence = Callable[[npt.NDArray[np.floating]], F64]
_PRIOR = 0.01
_SITE_SEED = 3_001      # and after it; no recipe learns from these worlds
_CAMERAS, _VISITS, _VIEWS, _TOGETHER = (1, 2, 3, 4, 5, 6), 2, 3, 3
_RATE = 0.01
_SPOOL = "00000000000000aa"


def main() -> None:
    """Measure, print, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=4, help="worlds that calibrate themselves")
    parser.add_argument("--people", type=int, default=120, help="of each, half of them confirmed")
    parser.add_argument("--journal", type=Path, metavar="FOLDER", help="write the first site there, and nothing else")
    args = parser.parse_args()
    at_least(parser, args, 0, "sites")
    at_least(parser, args, 60, "people")
    bundle = Bundle.open(default_path())
    engines = {modality: open_engine(bundle, modality) for modality in MODALITIES}

    def seen(people: Drawn) -> Embeddings:
        crops = draw(people, bundle.height, bundle.width)

        def embed(images: U8, modality: Modality) -> F32:
            return engines[modality].embed(images)

        return embedded(crops.images, crops, embed)

    fitted, held = (seen(drawn_people(96, 2, seed=seed)) for seed in (WORLD_SEED, CHECK_SEED))
    found = calibration(bundle.fingerprint_hex, scores(fitted), "drawn", Plan(prior=_PRIOR))
    if args.journal is not None:
        people = seen(Drawn(0, args.people // 2, _CAMERAS, _VISITS * _VIEWS, _SITE_SEED))
        _write(args.journal, bundle, found, *site(people, 0))
        return
    row: dict[str, object] = {"methods": _methods(fitted, held)}
    row["sites"] = [_site(found, seen(Drawn(0, args.people, _CAMERAS, _VISITS * _VIEWS, _SITE_SEED + at)), at)
                    for at in range(args.sites)]
    for engine in engines.values():
        engine.close()
    keep("calibration", row)


def isotonic(genuine: npt.NDArray[np.floating], impostor: npt.NDArray[np.floating], prior: float) -> Evidence:
    """Evidence by pool-adjacent-violators, classes weighted to a prior; a step function.

    Args:
        genuine: Scores of pairs of one person.
        impostor: Scores of pairs of two.
        prior: Above 0 and below 1.
    """
    score = np.concatenate([genuine, impostor]).astype(np.float64)
    order = np.argsort(score, kind="stable")
    target = np.concatenate([np.ones(len(genuine)), np.zeros(len(impostor))])[order]
    weight = np.concatenate([np.full(len(genuine), prior / len(genuine)),
                             np.full(len(impostor), (1 - prior) / len(impostor))])[order]
    value: list[float] = []
    mass: list[float] = []
    size: list[int] = []
    for t, w in zip(target.tolist(), weight.tolist(), strict=True):
        value.append(t)
        mass.append(w)
        size.append(1)
        while len(value) > 1 and value[-2] >= value[-1]:
            both = mass[-2] + mass[-1]
            value[-2:] = [(value[-2] * mass[-2] + value[-1] * mass[-1]) / both]
            mass[-2:] = [both]
            size[-2:] = [size[-2] + size[-1]]
    # Steps of certainty hold no more than one pair in all could say against them.
    probable = np.clip(np.repeat(value, size), (1 - prior) / len(impostor) / 2, 1 - prior / len(genuine) / 2)
    evidence = np.log(probable / (1 - probable)) - np.log(prior / (1 - prior))
    ascending = score[order]
    return lambda at: np.asarray(evidence[np.clip(np.searchsorted(ascending, at, side="right") - 1, 0, None)])


def _methods(fitted: Embeddings, held: Embeddings) -> dict[str, object]:
    known, test = scores(fitted), scores(held)

    def straight(of: Scores) -> Evidence:
        slope, offset = line(of.genuine, of.impostor, _PRIOR)
        return lambda at: slope * at.astype(np.float64) + offset

    def z_norm(of: Scores) -> Evidence:
        mean, deviation = float(of.impostor.mean()), float(of.impostor.std())
        return lambda at: (at.astype(np.float64) - mean) / deviation

    ways: dict[str, Callable[[Scores], Evidence]] = {
        "cosine": lambda _: lambda at: at.astype(np.float64), "z-norm": z_norm,
        "isotonic": lambda of: isotonic(of.genuine, of.impostor, _PRIOR), "line": straight}
    told: dict[str, object] = {}
    print(f"{'method':<10} " + " ".join(f"{'lost ' + name:>22}" for name in PAIRS) + f" {'mAP':>7} {'across':>7}")
    for name, way in ways.items():
        by = {of: way(known[of]) for of in PAIRS}
        figures: dict[str, object] = {}
        if name in ("isotonic", "line"):
            figures["lost"] = {of: round(lost(by[of](test[of].genuine), by[of](test[of].impostor), _PRIOR), 4)
                               for of in PAIRS}
        figures["mAP %"], figures["mAP across %"] = (round(100 * value, 2) for value in _mixed(held, by))
        left = figures.get("lost", {})
        assert isinstance(left, dict)
        print(f"{name:<10} " + " ".join(f"{left.get(of, ''):>22}" for of in PAIRS)
              + f" {figures['mAP %']:>7} {figures['mAP across %']:>7}", flush=True)
        told[name] = figures
    return told


def _mixed(seen: Embeddings, by: dict[Pair, Evidence]) -> tuple[float, float]:
    cosine = np.clip(seen.embedding @ seen.embedding.T, -1, 1)
    score = np.empty(cosine.shape)
    for one in (False, True):
        for other in (False, True):
            cells = np.ix_(seen.infrared == one, seen.infrared == other)
            score[cells] = by[pair(MODALITIES[one], MODALITIES[other])](cosine[cells])
    hidden = seen.camera[:, None] == seen.camera[None]
    own = (seen.identity[:, None] == seen.identity[None]) & (seen.infrared[:, None] == seen.infrared[None])
    return (evaluate(-score, seen.identity, seen.identity, excluded=hidden).mean_ap,
            evaluate(-score, seen.identity, seen.identity, excluded=hidden | own).mean_ap)


def site(seen: Embeddings, seed: int) -> tuple[Seen, npt.NDArray[np.int64]]:
    """What a collector has of people who come past its cameras in threes: tracklets, and whose each is.

    Args:
        seen: Crops, `_VISITS` times `_VIEWS` of each person under each camera, in drawing order.
        seed: Of who comes with whom.
    """
    rng = np.random.default_rng(seed)
    rows = []
    people = np.unique(seen.identity)
    for camera in np.unique(seen.camera):
        for visit in range(_VISITS):
            for place, person in enumerate(rng.permutation(people)):
                views = np.flatnonzero((seen.identity == person) & (seen.camera == camera))
                some = views[visit * _VIEWS:(visit + 1) * _VIEWS]
                begin = 1e5 * visit + 60.0 * (place // _TOGETHER) + place % _TOGETHER
                mean = seen.embedding[some].mean(0)
                rows.append((int(person), int(camera), int(seen.infrared[some[0]]), begin, mean))
    who, camera_of, modality, began, means = (np.array(column) for column in zip(*rows, strict=True))
    number = np.arange(1, len(rows) + 1)
    return Seen(number, number, camera_of, modality, np.zeros(len(rows), np.uint64), began, began + 20.0,
                means.astype(np.float32)), who


def _site(found: Calibration, seen: Embeddings, at: int) -> dict[str, object]:
    people = np.unique(seen.identity)
    ours = np.isin(seen.identity, people[:len(people) // 2])
    tracklets, who = site(seen.take(ours), at)
    others, whose = site(seen.take(~ours), at + 1000)
    truth = _truth(others, whose)
    plans = {name: Plan(rate=_RATE, unsure_rate=0.1, prior=_PRIOR, resamples=100) for name in PAIRS}
    told: dict[str, object] = {}
    print(f"\nsite {at}: {len(people) // 2} people confirmed, as many others judged, at a rate of {_RATE:g}")
    for words, groups in (("all", _everybody(who)), ("as suggested", _suggested(tracklets, who, found))):
        known = witnessed(tracklets, Said(groups, []))
        refined = refine(found, known.scores, plans)
        for name in PAIRS:
            before = next(p.score for p in found.scales[name].points if p.false_match_rate == _RATE)
            after = refined.found.thresholds[name].score
            one, two = truth[name].genuine, truth[name].impostor
            (false, missed), (false_now, missed_now) = (error_rates(one, two, cut) for cut in (before, after))
            left = [lost(by.normalised(name, one), by.normalised(name, two), _PRIOR) for by in (found, refined.found)]
            short = " (kept)" if name in refined.lacking else ""
            said = refined.found.thresholds[name].false_non_match_rate
            told[f"{name}, confirmed {words}"] = {
                "pairs": [len(known.scores[name].genuine), len(known.scores[name].impostor)],
                "threshold": [round(before, 4), round(after, 4)], "strangers match %": _percent(false, false_now),
                "missed %": _percent(missed, missed_now), "lost": [round(value, 4) for value in left],
                "said to be missed %": round(100 * said, 1)}
            print(f"  {name:<18} confirmed {words:<13} strangers match {false:6.2%} -> {false_now:6.2%}, missed "
                  f"{missed:6.1%} -> {missed_now:6.1%} (said {said:6.1%}), lost {left[0]:.3f} -> {left[1]:.3f}{short}",
                  flush=True)
    return told


def _write(folder: Path, bundle: Bundle, found: Calibration, seen: Seen, who: npt.NDArray[np.int64]) -> None:
    """A collector's folder and settings: a sighting for each tracklet, and what an operator confirmed."""
    folder.mkdir(parents=True)
    (folder / "collector.toml").write_text('data = "data"\n', "utf-8")
    journal = Journal(folder / "data")
    now = time.time()
    items: list[Sighting | Gap] = [Sighting(
        device="site", camera=f"camera {seen.camera[row]}", seen_from=float(seen.seen_from[row]),
        seen_at=float(seen.seen_at[row]), modality=MODALITIES[seen.modality[row]], tracklet=row + 1,
        view_count=_VIEWS, quality=0.8, box_width=64, box_height=128, fingerprint=bundle.fingerprint,
        engine="onnxruntime", precision="fp32", packing="fp16", vector=unit(seen.mean[row:row + 1])[0],
        spool=_SPOOL, sequence=row + 1) for row in range(len(seen))]
    (ids,) = journal.append([Arrival("site", items, now)])
    journal.append([], [Link(number, number, number, "opened") for number in ids if number])
    for group in _suggested(seen, who, found):
        journal.decide(Decision(now, "operator", "confirm", "drawn so", {"tracklets": group, "moved": []}))
    journal.close()
    print(f"{len(seen)} tracklets; now: cmnas-edge collector calibrate --config {folder / 'collector.toml'}")


def _percent(*shares: float) -> list[float]:
    return [round(100 * share, 2) for share in shares]


def _truth(seen: Seen, who: npt.NDArray[np.int64]) -> dict[Pair, Scores]:
    """All pairs of other cameras, or of another visit, with what is true of them: the collector compares these."""
    a, b = np.triu_indices(len(seen), 1)
    apart = (seen.camera[a] != seen.camera[b]) | (who[a] != who[b])
    a, b = a[apart], b[apart]
    cosine = np.clip((seen.mean @ seen.mean.T)[a, b], -1, 1)
    names = np.array([[PAIRS.index(pair(x, y)) for y in MODALITIES] for x in MODALITIES])[
        seen.modality[a], seen.modality[b]]
    found: dict[Pair, Scores] = {}
    for at, name in enumerate(PAIRS):
        one, two = (names == at) & (who[a] == who[b]), (names == at) & (who[a] != who[b])
        found[name] = Scores(cosine[one], who[a][one], cosine[two], np.stack([who[a][two], who[b][two]], 1))
    return found


def _everybody(who: npt.NDArray[np.int64]) -> list[list[int]]:
    return [(np.flatnonzero(who == person) + 1).tolist() for person in np.unique(who)]


def _suggested(seen: Seen, who: npt.NDArray[np.int64], by: Calibration) -> list[list[int]]:
    cosine = seen.mean @ seen.mean.T
    return [[a + 1, b + 1] for person in np.unique(who) for rows in [np.flatnonzero(who == person)]
            for a in rows.tolist() for b in rows.tolist() if a < b
            and cosine[a, b] >= by.scales[pair(MODALITIES[seen.modality[a]], MODALITIES[seen.modality[b]])].unsure_from]


if __name__ == "__main__":
    main()
