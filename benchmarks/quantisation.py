"""What each way to find int8's ranges costs, and what equal LightConv channels buy.

Run it with ``python -m benchmarks.quantisation``. Each row is an int8 graph of the bundle that ships, made from 512
drawn crops of each modality and held against its float32 graph on drawn people in one gallery: how far embeddings
turn, and what the gate measures (points of rank-1 and mAP lost in the worst of twelve meetings of engines and
packings; in brackets the bound of 95 % confidence, which should be below 1).
"""

from __future__ import annotations

import argparse

import numpy as np
import onnx

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.bundle.pictures import draw, of_modality
from cmnas_edge.embedding import MODALITIES
from export.parity import by_onnx
from export.precision import METHODS
from export.precision.crops import drawn
from export.precision.gate import DIRECTIONS, Site, faults, people
from export.precision.ladder import distances, in_int8

__all__ = ["main"]


def main() -> None:
    """Measure, print a table, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000, help="who are searched")
    parser.add_argument("--method", choices=METHODS, nargs="+", default=METHODS, help="how ranges are found")
    args = parser.parse_args()
    at_least(parser, args, 2, "people")
    bundle = Bundle.open(default_path())
    models = {modality: onnx.load(bundle.graph(modality)) for modality in MODALITIES}
    pictures = draw(people(args.people), bundle.height, bundle.width)
    shown = {modality: of_modality(pictures, modality) for modality in MODALITIES}
    plain = {modality: by_onnx(models[modality], shown[modality]) for modality in MODALITIES}
    site, crops = Site(pictures, plain, group=args.people), drawn(bundle.height, bundle.width)
    print(f"| channels | ranges | cosine distance, mean | largest | {' | '.join(DIRECTIONS)} |")
    print("|---|---|---|---|" + "---|" * len(DIRECTIONS))
    rows = []
    for equalise in (False, True):
        for method in args.method:
            graphs = in_int8(models, crops, method, equalise=equalise)
            found = {modality: by_onnx(graphs[modality], shown[modality]) for modality in MODALITIES}
            apart = np.concatenate([distances(plain[modality], found[modality]) for modality in MODALITIES])
            verdict = site.judge("int8", found)
            rows.append({"equalised": equalise, "method": method, "mean": float(apart.mean()),
                         "largest": float(apart.max()), "passed": not faults(verdict),
                         "rank1": {name: [loss.drop, loss.bound] for name, loss in verdict.rank1.items()},
                         "mean_ap": {name: [loss.drop, loss.bound] for name, loss in verdict.mean_ap.items()}})
            cells = [f"{verdict.rank1[name].drop:.2f} ({verdict.rank1[name].bound:.2f}), "
                     f"{verdict.mean_ap[name].drop:.2f} ({verdict.mean_ap[name].bound:.2f})" for name in DIRECTIONS]
            print(f"| {'equalised' if equalise else 'as trained'} | {method} | {apart.mean():.5f} "
                  f"| {apart.max():.5f} | {' | '.join(cells)} |", flush=True)
    keep("quantisation", {"people": args.people, "rows": rows})


if __name__ == "__main__":
    main()
