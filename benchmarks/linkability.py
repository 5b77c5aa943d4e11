"""Can who holds the sightings of two sites, or of one before and after a new key, tell who is in both?

Run it with ``python -m benchmarks.linkability``. People are drawn, and embedded by the bundle that
ships. Each site has seen every one of them in pictures of its own, and turned the vectors with
its own key. An attack tries to turn the vectors of one site into the space of the other; then each of the
one asks who is nearest in the other. Rank-1 is how often that is a picture of the same person
(chance: 1 in the number of people); AUC how often a pair of pictures of one person
lies nearer than one of two (chance: 0.5). *Same key* is what there is to find.

- **none**: vectors are compared as they are.
- **known pairs**: of other people the attacker has vectors under both keys, and solves for the
  rotation (orthogonal Procrustes; Schoenemann, Psychometrika 1966). ``same picture``: both of one
  picture; ``other pictures``: of one person in two.
- **moments**: the attacker has nothing but both stores. Principal axes are paired by their
  variance, each with the sign that mean and skewness say. ``refined``: from there on, pairs that are
  each other's nearest are taken for known, again and again. ``1 in 10 shared``: most of whom the one
  site saw never came to the other; figures are of those who did.
- **own pictures**: the same with one store, and people of the attacker's own, embedded by the public bundle.

Then, or with ``--cost`` alone: what a key costs a camera, in processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge import sighting_pb2 as pb
from cmnas_edge.bundle import Bundle, Drawn, default_path
from cmnas_edge.bundle.pictures import draw
from cmnas_edge.embedding import pack, unit, unpack
from cmnas_edge.engine import open_engine
from cmnas_edge.site_key import Rotation, SiteKey

__all__ = ["main", "moments", "procrustes", "refine"]

F32 = npt.NDArray[np.float32]
ONE, OTHER = SiteKey(bytes(32)), SiteKey(bytes(range(32)))
KNOWN = 512
_CAMERAS = (1, 2)   # both see in colour
_FIRST = 1_000_000  # people nobody trained on
_ROUNDS = 20


def main() -> None:
    """Measure, print, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000, help="whom both sites saw")
    parser.add_argument("--views", type=int, default=4, help="pictures of each, on each site")
    parser.add_argument("--cost", action="store_true", help="only say what a key costs a camera; nothing is kept")
    args = parser.parse_args()
    if args.cost:
        bundle = Bundle.open(default_path())
        _cost(bundle, ONE.rotation(bundle.dimension))
        return
    at_least(parser, args, 2, "people")
    at_least(parser, args, 1, "views")
    bundle = Bundle.open(default_path())
    one, other = ONE.rotation(bundle.dimension), OTHER.rotation(bundle.dimension)
    here, there, who = _seen(bundle, _FIRST, args.people, args.views)
    a, b = _stored(here, one), _stored(there, other)
    plain, more, _ = _seen(bundle, _FIRST + args.people, max(KNOWN, args.people), args.views)
    row: dict[str, object] = {"people": args.people, "views": args.views, "dimension": bundle.dimension,
                              "chance of rank-1 %": round(100 / args.people, 2)}

    def show(attack: str, turned: F32, store: F32) -> None:
        rank1, auc = _linked(turned, store, who[:len(turned)], who)
        row[attack] = {"rank-1 %": round(100 * rank1, 1), "auc": round(auc, 3)}
        print(f"{attack:<34} rank-1 {rank1:6.1%}   AUC {auc:.3f}", flush=True)

    print(f"{args.people} people, {args.views} pictures each on each site; chance is {1 / args.people:.1%} and 0.5")
    show("same key", _stored(there, one), a)
    show("none", b, a)
    for count in (32, 128, KNOWN):
        first = slice(0, count * args.views, args.views)   # a picture of each
        known = _stored(plain[first], one)
        show(f"{count} known pairs, same picture", b @ procrustes(_stored(plain[first], other), known), a)
        show(f"{count} known pairs, other pictures", b @ procrustes(_stored(more[first], other), known), a)
    guess = moments(b, a)
    show("moments", b @ guess, a)
    show("moments, refined", b @ refine(b, a, guess), a)
    few = max(2, args.people // 10) * args.views
    mixed = np.concatenate([b[:few], _stored(more[few:len(who)], other)])
    guess = moments(mixed, a)
    show("moments, 1 in 10 shared", b[:few] @ guess, a)
    show("moments, refined, 1 in 10 shared", b[:few] @ refine(mixed, a, guess), a)
    guess = moments(b, plain)
    show("own pictures, moments", b @ guess, here)
    show("own pictures, moments, refined", b @ refine(b, plain, guess), here)
    row |= _cost(bundle, one)
    keep("linkability", row)


def procrustes(x: F32, y: F32) -> F32:
    """Find the orthogonal matrix R, ``(d, d)``, for which ``x @ R`` comes nearest to ``y``, both ``(n, d)``."""
    u, _, v = np.linalg.svd(x.T.astype(np.float64) @ y.astype(np.float64))
    return np.asarray(u @ v, np.float32)


def moments(x: F32, y: F32) -> F32:
    """Guess the orthogonal matrix R for which rows of ``x @ R`` are spread as those of ``y`` are.

    Args:
        x: Vectors ``(n, d)`` of one population.
        y: Others ``(m, d)`` of the same.
    """
    (axes, mean, skew), (onto, mean_y, skew_y) = _principal(x), _principal(y)
    # Both in units of their standard error; what stands out more decides the sign.
    said = np.where(np.abs(mean * mean_y) > np.abs(skew * skew_y), mean * mean_y, skew * skew_y)
    return np.asarray((axes * np.where(said < 0, -1.0, 1.0)) @ onto.T, np.float32)


def refine(x: F32, y: F32, guess: F32) -> F32:
    """Improve a guess of R by taking mutual nearest neighbours for pairs, again and again."""
    for _ in range(_ROUNDS):
        cosine = x @ guess @ y.T
        nearest, back = cosine.argmax(1), cosine.argmax(0)
        mutual = np.flatnonzero(back[nearest] == np.arange(len(x)))
        guess = procrustes(x[mutual], y[nearest[mutual]])
    return guess


def _principal(x: F32) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Principal axes as columns, widest first; along each, mean and skewness in standard errors."""
    wide = x.astype(np.float64)
    centred = wide - wide.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    along = centred @ axes
    spread = np.maximum(along.std(0), 1e-12)
    n = len(x)
    return axes, (wide.mean(0) @ axes) / spread * n**0.5, (along**3).mean(0) / spread**3 * (n / 6) ** 0.5


def _seen(bundle: Bundle, first: int, people: int, views: int) -> tuple[F32, F32, npt.NDArray[np.int64]]:
    """What the network says of people in front of two cameras: both ``(people * views, d)``; and who each row is."""
    found: list[list[F32]] = [[], []]
    with open_engine(bundle, "visible") as engine:
        for start in range(first, first + people, 100):
            count = min(100, first + people - start)
            crops = draw(Drawn(start, count, _CAMERAS, views, 0), bundle.height, bundle.width)
            for side, camera in zip(found, _CAMERAS, strict=True):
                rows = np.flatnonzero(crops.camera == camera)
                side.append(engine.embed(crops.images[rows[np.argsort(crops.identity[rows], kind="stable")]]))
    one, other = (np.concatenate(side) for side in found)
    return one, other, np.repeat(np.arange(people), views)


def _stored(x: F32, rotation: Rotation) -> F32:
    """What a collector has of vectors: turned, and packed in half precision."""
    return unpack(pack(rotation.turn(unit(x)), "fp16"), "fp16", x.shape[1])


def _linked(x: F32, y: F32, who: npt.NDArray[np.int64], among: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Rank-1 and AUC of telling by cosine who of ``x``, rows of ``who``, is who in ``y``, rows of ``among``."""
    cosine = x @ y.T
    rank1 = float((among[cosine.argmax(1)] == who).mean())
    same = who[:, None] == among[None]
    genuine, impostor = np.sort(cosine[same]), np.sort(cosine[~same])
    below = np.searchsorted(impostor, genuine, "left") + np.searchsorted(impostor, genuine, "right")
    return rank1, float(below.mean() / (2 * len(impostor)))


def _cost(bundle: Bundle, rotation: Rotation) -> dict[str, object]:
    began = time.process_time()
    ONE.rotation(bundle.dimension)
    start_ms = 1e3 * (time.process_time() - began)
    crops = bundle.golden("visible")[0][:1]
    with open_engine(bundle, "visible") as engine:
        vector = engine.embed(crops)
        infer_ms = _median_ms(lambda: engine.embed(crops), 50)
    turn_ms = _median_ms(lambda: rotation.turn(vector), 500)
    number_bytes = pb.Sighting(transform=rotation.transform).ByteSize()
    print(f"a camera pays {turn_ms:.3f} ms a vector, {turn_ms / infer_ms:.1%} of the {infer_ms:.2f} ms a crop takes; "
          f"{rotation.matrix.nbytes / 1e6:.2f} MB of memory; {start_ms:.0f} ms at its start; "
          f"{number_bytes} bytes in each sighting")
    return {"turn ms": round(turn_ms, 4), "infer ms": round(infer_ms, 3), "matrix bytes": rotation.matrix.nbytes,
            "start ms": round(start_ms, 1), "bytes a sighting": number_bytes}


def _median_ms(work: Callable[[], object], count: int) -> float:
    taken = []
    for _ in range(count):
        began = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - began))
    return statistics.median(taken)


if __name__ == "__main__":
    main()
