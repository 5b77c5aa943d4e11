"""Does a sighting cost more when a million are stored, if as many are in memory? And with more people in memory?

Run it with ``OPENBLAS_NUM_THREADS=1 python -m benchmarks.flat``, which is what ``cmnas-edge`` sets. People come and go
before one collector: every sighting is stored in the journal, matched against a hot window of fixed size, and its links
are written with the next batch, as the intake does. Processor time a sighting is taken in turns of 2,000, with 10,000
stored and with a million; the rest of the million is stored in between, with its links and without a look. What counts
is the ratio.

Then people alone: what it costs to decide about a new tracklet, where so many identities are in memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.collector.gallery import Gallery
from cmnas_edge.collector.matching.identity import Identities, Link
from cmnas_edge.collector.store.journal import Arrival, Journal, Record
from cmnas_edge.embedding import unit
from cmnas_edge.sighting import Sighting

__all__ = ["main"]

_FEW = 10_000
_TURN = 2_000
_BATCH = 64
_STRANGERS = 100
_SPOOL = "00000000000000aa"


class _Site:
    def __init__(self, folder: Path, hot: int) -> None:
        self._bundle = Bundle.open(default_path())
        self.journal = Journal(folder)
        self._gallery = Gallery(self._bundle)
        self._hot = hot
        self._rng = np.random.default_rng(0)
        self._links: list[Link] = []
        self.stored = 0

    def batch(self, size: int) -> list[Sighting]:
        """Sightings of people nobody saw before, each three times, before six cameras."""
        people = -(-size // 3)
        own = self._rng.standard_normal((people, self._bundle.dimension)).astype(np.float32)
        seen = np.repeat(own, 3, 0)[:size]
        x = unit(seen + 0.4 * self._rng.standard_normal(seen.shape).astype(np.float32))
        first = self.stored
        return [Sighting(device="site", camera=f"c{at % 6}", seen_from=float(at), seen_at=at + 0.5, modality="visible",
                         tracklet=at, view_count=1, quality=1.0, box_width=40, box_height=96,
                         fingerprint=self._bundle.fingerprint, engine="onnxruntime", precision="fp32", packing="fp16",
                         vector=vector, spool=_SPOOL, sequence=at) for at, vector in enumerate(x, first)]

    def fill(self, until: int) -> None:
        """Store without a look."""
        while self.stored < until:
            some = self.batch(min(2048, until - self.stored))
            ((*ids,),) = self.journal.append([Arrival("site", list(some), float(self.stored))], self._links)
            self._links = [Link(number, number, number, "opened") for number in ids if number is not None]
            self.stored += len(some)

    def turn(self) -> float:
        """Store and match; microseconds of processor time a sighting."""
        batches = []
        for _ in range(_TURN // _BATCH):
            batches.append(self.batch(_BATCH))
            self.stored += _BATCH
        began = time.process_time()
        for some in batches:
            ((*ids,),) = self.journal.append([Arrival("site", list(some), some[0].seen_from)], self._links)
            self._links = []
            for number, one in zip(ids, some, strict=True):
                assert number is not None
                self._links += self._gallery.add(Record(
                    number, "site", one.spool, one.sequence, one.seen_from, one.camera, one.seen_from, one.seen_at,
                    one.modality, one.tracklet, 1, 1.0, 40, 96, one.engine, one.precision, 0, one.fingerprint),
                    one.vector)
        self._gallery.expire(0.0, self._hot)
        return 1e6 * (time.process_time() - began) / (len(batches) * _BATCH)


def by_people(counts: Sequence[int]) -> dict[str, int]:
    """Microseconds of processor time that a stranger's tracklet takes to decide about, by identities in memory."""
    bundle, rng = Bundle.open(default_path()), np.random.default_rng(0)
    identities, number, found = Identities(bundle.dimension, bundle.calibration), 0, dict[str, int]()
    for count in sorted(counts):
        strangers = unit(rng.standard_normal((count - number + _STRANGERS, bundle.dimension)).astype(np.float32))
        for vector in strangers[:-_STRANGERS]:
            number += 1
            identities.restore(_passer_by(number), vector, number)
        began = time.process_time()
        for vector in strangers[-_STRANGERS:]:
            number += 1
            identities.add(_passer_by(number), vector)
        found[str(count)] = round(1e6 * (time.process_time() - began) / _STRANGERS)
    return found


def _passer_by(number: int) -> Record:
    at = float(number)
    return Record(number, "site", _SPOOL, number, at, f"c{number % 6}", at, at + 0.5, "visible", number, 1, 1.0, 40, 96,
                  "onnxruntime", "fp32", 0, b"")


def main() -> None:
    """Measure, print, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--hot", type=int, default=2_000, help="sightings of the hot window")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--people", type=int, nargs="+", default=[1_000, 5_000, 20_000, 50_000],
                        help="identities in memory, for the second question")
    args = parser.parse_args()
    at_least(parser, args, 1, "people")
    if args.stored <= 4 * _FEW or args.turns < 1 or args.hot < 1:
        parser.error(f"expected more than {4 * _FEW} stored, and a turn and a hot sighting at least; correct them")
    with tempfile.TemporaryDirectory() as folder:
        site = _Site(Path(folder), args.hot)
        site.fill(_FEW - _TURN)
        site.turn()     # fills the window
        few = [site.turn() for _ in range(args.turns)]
        site.fill(args.stored)
        many = [site.turn() for _ in range(args.turns)]
        site.journal.close()
    ratio = statistics.median(many) / statistics.median(few)
    print(f"{statistics.median(few):.0f} us a sighting with {_FEW} stored, {statistics.median(many):.0f} us with "
          f"{args.stored}, {args.hot} of them in memory: {ratio:.2f} times")
    people = by_people(args.people)
    print("a stranger's tracklet: " + ", ".join(f"{us} us with {count} people" for count, us in people.items()))
    keep("flat", {"stored": args.stored, "hot": args.hot, "us few": [round(x) for x in few],
                  "us many": [round(x) for x in many], "ratio": round(ratio, 3), "us by people": people})


if __name__ == "__main__":
    main()
