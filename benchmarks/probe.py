"""What does a vector tell of a person, beside who it may be?

Run it with ``python -m benchmarks.probe``. People are drawn and embedded by the bundle that ships; of each we know what
they wear and how they are built, for we drew them. A linear probe (ridge regression, on one vector, no picture) is
fitted on the vectors of some people and asked about others, whom neither it nor the network has seen. *By chance* is
the same probe fitted after the people's traits were dealt out among them anew. Kinds (bag, clothing colour, ...) are
balanced accuracy, the mean over kinds of how many of a kind are told; 1 / kinds is guessing. Amounts (height, build)
are the correlation of what is said with what is so.

Then the same vectors turned by a site key (docs/keys.md), asked by two thieves: one who fitted the probe on the public
bundle, and one who has the key's vectors of people about whom they know.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.embedding import MODALITIES, Modality, unit
from cmnas_edge.engine import open_engine
from cmnas_edge.site_key import SiteKey
from cmnas_edge.synthetic.crops import draw_set
from cmnas_edge.synthetic.people import HAIR, LEGS, PALETTE, SKIN, TOP, Person

__all__ = ["main", "ridge", "told"]

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_CAMERAS: dict[Modality, tuple[int, ...]] = {"visible": (1, 2), "infrared": (3, 6)}
_FIRST = 2_000_000  # people nobody trained on
_RIDGE = 1e-2       # of the mean variance of an entry
_DEALS = 5


def main() -> None:
    """Measure, print, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=900, help="two thirds of them are fitted on")
    parser.add_argument("--views", type=int, default=2, help="pictures of each, by each of two cameras a modality")
    args = parser.parse_args()
    at_least(parser, args, 30, "people")
    at_least(parser, args, 1, "views")
    bundle = Bundle.open(default_path())
    people = [Person.draw(0, _FIRST + n) for n in range(args.people)]
    kinds, amounts = _kinds(people), _amounts(people)
    row: dict[str, object] = {"people": args.people, "views": args.views, "dimension": bundle.dimension}
    rotation = SiteKey(bytes(range(32))).rotation(bundle.dimension)
    for modality in MODALITIES:
        x, who = _seen(bundle, modality, args.people, args.views)
        fit = who < args.people * 2 // 3
        plain = {name: told(x, who, fit, values) for name, values in (kinds | amounts).items()}
        public = {name: told(x, who, fit, values, asked=rotation.turn(x)) for name, values in kinds.items()}
        inside = {name: told(rotation.turn(x), who, fit, values) for name, values in kinds.items()}
        print(f"{modality}: {int(fit.sum())} vectors fitted on, {int((~fit).sum())} of "
              f"{args.people - args.people * 2 // 3} other people asked about")
        for name, (found, chance) in plain.items():
            turned = f"   turned: public {public[name][0]:.2f}, inside {inside[name][0]:.2f}" if name in public else ""
            print(f"  {name:<24} {found:.2f}   by chance {chance:.2f}{turned}", flush=True)
        row[modality] = {name: {"told": round(found, 3), "by chance": round(chance, 3)} | (
            {"turned, public": round(public[name][0], 3), "turned, inside": round(inside[name][0], 3)}
            if name in public else {}) for name, (found, chance) in plain.items()}
    keep("probe", row)


def ridge(x: F64, y: npt.NDArray[np.generic]) -> F64:
    """Weights ``(d + 1, t)`` that take ``x``, ``(n, d)``, with a one behind, nearest to ``y``, ``(n, t)``."""
    wide = np.concatenate([x, np.ones((len(x), 1))], 1)
    gram = wide.T @ wide
    gram[np.diag_indices(x.shape[1])] += _RIDGE * len(x) * x.var(0).mean()      # not the constant's
    found: F64 = np.linalg.solve(gram, wide.T @ y.astype(np.float64))
    return found


def told(x: F32, who: I64, fit: npt.NDArray[np.bool_], values: I64 | F64, *, asked: F32 | None = None
         ) -> tuple[float, float]:
    """How well a probe tells a trait of people it was not fitted on, and how well by chance.

    Args:
        x: Vectors, ``(n, d)``.
        who: Whose each is, ``(n,)``, rows of ``values``.
        fit: Which are fitted on, ``(n,)``; nobody is on both sides.
        values: The trait of each person: whole numbers are kinds, others amounts.
        asked: What it is asked about in their place, ``(n, d)``.
    """
    rng = np.random.default_rng(0)
    found = _score(x, who, fit, values, asked)
    by_chance = [_score(x, who, fit, rng.permutation(values), asked) for _ in range(_DEALS)]
    return found, float(np.mean(by_chance))


def _score(x: F32, who: I64, fit: npt.NDArray[np.bool_], values: I64 | F64, asked: F32 | None) -> float:
    wide = x.astype(np.float64)
    others = (wide if asked is None else asked.astype(np.float64))[~fit]
    others = np.concatenate([others, np.ones((len(others), 1))], 1)
    truth = values[who]
    if values.dtype.kind == "f":
        said = (others @ ridge(wide[fit], truth[fit, None]))[:, 0]
        return float(np.corrcoef(said, truth[~fit])[0, 1])
    one_hot = (truth[:, None] == np.unique(truth)[None]).astype(np.float64)
    one_hot /= np.maximum(one_hot[fit].mean(0), 1 / len(truth))     # rare kinds weigh as much as common ones
    guess = np.unique(truth)[(others @ ridge(wide[fit], one_hot[fit])).argmax(1)]
    return float(np.mean([(guess[truth[~fit] == kind] == kind).mean() for kind in np.unique(truth[~fit])]))


def _kinds(people: list[Person]) -> dict[str, I64]:
    def whole(values: list[int]) -> I64:
        return np.array(values, np.int64)

    return {
        "colour of the top": whole([_colour(person, TOP) for person in people]),
        "colour of the legs": whole([_colour(person, LEGS) for person in people]),
        "bag": whole([("none", "backpack", "hand").index(person.outfit.bag) for person in people]),
        "long coat": whole([person.outfit.long_coat for person in people]),
        "skirt": whole([person.outfit.skirt for person in people]),
        "hat": whole([person.outfit.hat for person in people]),
        "hair to the shoulder": whole([person.body.hair_length == 2 for person in people]),
    }


def _amounts(people: list[Person]) -> dict[str, F64]:
    return {
        "height": np.array([person.body.height for person in people]),
        "width of the shoulders": np.array([person.body.shoulder for person in people]),
        "length of the legs": np.array([person.body.leg for person in people]),
        "brightness of the skin": np.array([float(person.visible[SKIN, 0].mean()) for person in people]),
        "brightness of the hair": np.array([float(person.visible[HAIR, 0].mean()) for person in people]),
    }


def _colour(person: Person, region: int) -> int:
    """Which of the colours of `PALETTE` a piece of clothing has, by the nearest direction."""
    seen = person.visible[region, 0, ::-1].astype(np.float64)
    return int(np.argmin([np.linalg.norm(np.log(seen + 0.01) - np.log(np.array(dye) + 0.01)) for dye in PALETTE]))


def _seen(bundle: Bundle, modality: Modality, people: int, views: int) -> tuple[F32, I64]:
    """What the network says of everybody before the cameras of a modality: ``(n, d)``, and who each row is."""
    found, who = [], []
    with open_engine(bundle, modality) as engine:
        for start in range(0, people, 100):
            count = min(100, people - start)
            crops = draw_set(range(_FIRST + start, _FIRST + start + count), _CAMERAS[modality], views, bundle.height,
                             bundle.width)
            found.append(unit(engine.embed(crops.images)))
            who.append(crops.identity - _FIRST)
    return np.concatenate(found), np.concatenate(who)


if __name__ == "__main__":
    main()
