"""How many people stay known while a site changes from the bundle that ships to another?

    python -m benchmarks.rollout                        # three drawn days of 60 people, a minute
    python -m benchmarks.rollout --second my-bundle     # to one of your own, not to the shipped one with weights moved

A day is `benchmarks.drawn_day`. On it people come once or twice, so everybody meets the change in the midst of what is
seen of them: their first appearances are told of by the old bundle, some in the middle by both, the rest by the new
one alone. The collector accepts both, and the new one leads. *Through* is asked of every two appearances of one person
of which one is by the old bundle alone and one by the new one alone where the overlap is one appearance: how many have
one identity. The same question is asked where one bundle sees everything. Both bundles see the same crops.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.drawn_day import Day, draw_day
from benchmarks.identity import REPAIR, placed
from benchmarks.least import at_least
from benchmarks.linking import Truth
from benchmarks.records import keep
from benchmarks.second_bundle import second_bundle
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.collector.matching.identity import Identities
from cmnas_edge.errors import BundleError

I64 = npt.NDArray[np.int64]
# How many of a person's appearances, about the middle one, are told of by both; None: one bundle tells of all.
_WAYS = {"the old bundle alone": None, "the new bundle alone": None, "no overlap": 0, "1 appearance by both": 1,
         "3 appearances by both": 3}


class Found(NamedTuple):
    """Shares: of links through the change, of all links, and of those found that are right."""

    through: float
    recall: float
    precision: float


def main() -> None:
    """Measure, print, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--second", type=Path, help="folder of a bundle with another fingerprint (one made for this)")
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=Path("runs/identity"))
    args = parser.parse_args()
    at_least(parser, args, 2, "people")
    at_least(parser, args, 0, "seeds")
    try:
        with tempfile.TemporaryDirectory() as folder:
            second = Bundle.open(args.second) if args.second else second_bundle(Path(folder) / "second")
            bundles = Bundle.open(default_path()), second
            days = [[draw_day(bundle, seed, args.people, args.cache) for bundle in bundles] for seed in args.seeds]
    except BundleError as error:
        parser.error(str(error))
    for name in _WAYS:
        found = Found(*np.mean([_judged(bundles, pair, name) for pair in days], axis=0).round(3).tolist())
        print(f"{name:24s} {found}")
        keep("rollout", {"way": name, "people": args.people, "seeds": args.seeds, **found._asdict()})


def _judged(bundles: tuple[Bundle, Bundle], days: list[Day], way: str) -> Found:
    old, new = bundles
    day, truth = days[0], Truth(days[0])
    from_middle = _from_middle(day)
    both = _WAYS[way]
    by_old = np.full(len(from_middle), way == "the old bundle alone") if both is None else from_middle <= both // 2
    by_new = ~by_old if both is None else from_middle > both // 2 - both
    identities, number = Identities(new.dimension, new.calibration, also=[(old.dimension, old.calibration)]), 0
    for row, look in enumerate(day.looks):
        for bundle, seen, told in ((old, days[0], by_old), (new, days[1], by_new)):
            if told[look.tracklet]:
                number += 1
                identities.add(msgspec.structs.replace(look, id=number), seen.vectors[row], bundle.fingerprint)
        if look.id % REPAIR[0] == 0:
            identities.repair(REPAIR[1])
    found = placed(identities, day)
    early, late = from_middle < 0, from_middle > 0
    through = truth.same & ((early[:, None] & late[None]) | (late[:, None] & early[None]))
    judged = truth.judge(found)
    return Found(float((truth.linked(found) & through).sum() / through.sum()), judged.recall, judged.precision)


def _from_middle(day: Day) -> I64:
    """How many appearances each is after its person's middle one, negative: before, shape ``(n,)``."""
    person, start = (np.array([getattr(one, name) for one in day.passes]) for name in ("person", "start"))
    found = np.zeros(len(person), np.int64)
    for who in np.unique(person):
        rows = np.flatnonzero(person == who)
        found[rows[np.argsort(start[rows], kind="stable")]] = np.arange(len(rows)) - len(rows) // 2
    return found


if __name__ == "__main__":
    main()
