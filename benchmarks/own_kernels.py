"""Would the gate let in what an engine's own kernels make of a precision? It was asked about ONNX Runtime's alone.

    python -m benchmarks.own_kernels                    # the bundle that ships, as many people as its gate drew
    python -m benchmarks.own_kernels --people 1000

A precision is let into a bundle by graphs that ONNX Runtime computes, rounded where an engine would round. OpenVINO has
kernels of its own for int8 and bf16, and TensorRT for everything. So each that runs here joins, as cameras of its own,
a site where float32 and ONNX Runtime's int8 are: the gate's people, meetings, packings and limits.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any

import numpy as np

from benchmarks.least import at_least
from benchmarks.records import keep
from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.bundle.pictures import draw, of_modality
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine import open_engine
from cmnas_edge.engine.race import candidates
from cmnas_edge.engine.results import SAFE, Entrant, machine
from cmnas_edge.errors import CmnasError
from export.precision import PEOPLE
from export.precision.gate import DIRECTIONS, Site, faults, people
from export.precision.ladder import distances

__all__ = ["main", "measure"]

_AT_ONCE = 32


def main() -> None:
    """Measure, print a table, and append it to the tracked results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"who are searched ({PEOPLE})")
    args = parser.parse_args()
    at_least(parser, args, 2, "people")
    rows = measure(Bundle.open(default_path()), args.people)
    print(f"| kernels | cosine distance, mean | largest | {' | '.join(DIRECTIONS)} | spread | let in |")
    print("|---|---|---|" + "---|" * (len(DIRECTIONS) + 2))
    for row in rows:
        cells = [f"{row['rank1'][name][0]:.2f} ({row['rank1'][name][1]:.2f}), {row['mean_ap'][name][0]:.2f} "
                 f"({row['mean_ap'][name][1]:.2f})" for name in DIRECTIONS]
        spread = ", ".join(f"{share:.3f}" for share in row["spread"].values())
        print(f"| {row['engine']} {row['precision']} | {row['mean']:.5f} | {row['largest']:.5f} | {' | '.join(cells)} "
              f"| {spread} | {'; '.join(row['faults']) or 'yes'} |")
    keep("own_kernels", {"people": args.people, "engine_versions": machine().versions, "rows": rows})


def measure(bundle: Bundle, person_count: int) -> list[dict[str, Any]]:
    """Judge every engine and precision that runs here but those that the bundle's gate ran itself."""
    drawn = draw(people(person_count), bundle.height, bundle.width)
    shown = {modality: of_modality(drawn, modality) for modality in MODALITIES}

    def embedded(entrant: Entrant) -> dict[Modality, Any]:
        found = {}
        for modality in MODALITIES:
            with open_engine(bundle, modality, name=entrant.engine, precision=entrant.precision,
                             max_batch=_AT_ONCE) as engine:
                found[modality] = engine.embed(shown[modality])
        return found

    plain = embedded(SAFE)
    site = Site(drawn, plain)
    entrants = [one.entrant for one in candidates(bundle, threads=1, max_batch=_AT_ONCE) if not one.excluded]
    if (known := Entrant("onnxruntime", "int8")) in entrants:
        site.admit("int8", embedded(known))
    rows = []
    for entrant in entrants:
        if entrant.engine == "onnxruntime":
            continue
        with suppress(CmnasError):      # whoever cannot be opened here is nobody's camera
            found = embedded(entrant)
            apart = np.concatenate([distances(plain[modality], found[modality]) for modality in MODALITIES])
            verdict = site.judge(str(entrant), found)  # type: ignore[arg-type]  # a camera of its own, whatever it is called
            rows.append({"engine": entrant.engine, "precision": entrant.precision, "mean": float(apart.mean()),
                         "largest": float(apart.max()), "faults": faults(verdict), "worst": verdict.worst,
                         "spread": dict(verdict.spread), "queries": dict(verdict.query_count),
                         "rank1": {name: [loss.drop, loss.bound] for name, loss in verdict.rank1.items()},
                         "mean_ap": {name: [loss.drop, loss.bound] for name, loss in verdict.mean_ap.items()}})
            print(f"{entrant}: worst {verdict.worst}", flush=True)
    return rows


if __name__ == "__main__":
    main()
