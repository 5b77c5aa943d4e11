"""Precisions tried in turn: made, held against the rules, measured; then admitted, or refused with the figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TextIO

import numpy as np
import numpy.typing as npt
import onnx

from cmnas_edge.bundle import Drawn, Gate, Precision, Variant
from cmnas_edge.bundle.pictures import draw, of_modality
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.progress import Progress
from export.parity import by_onnx, opened
from export.precision import PEOPLE, Method, overflow
from export.precision.crops import Crops
from export.precision.equalisation import equalised
from export.precision.gate import Site, faults, people
from export.precision.graph import Graph
from export.precision.half import to_half
from export.precision.quantized import lifted, quantised, sites
from export.precision.ranges import reach
from export.precision.rounding import in_bfloat16, in_half
from export.precision.rules import breaches

__all__ = ["LADDER", "MARGIN", "Climb", "Made", "Models", "climb", "distances", "in_int8", "least_cosine", "made_in"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Models = Mapping[Modality, onnx.ModelProto]
# The fastest first, where a device can have it; TensorRT on some builds none of the first (TensorRT#4832).
LADDER: tuple[Precision, ...] = ("int8_fp16", "int8", "fp16", "bf16")
# An engine of a precision rounds elsewhere than the graph that was measured: twice the angle, which is four times the
# cosine distance, of all but one in a hundred crops.
MARGIN = 4.0
_QUANTILE = 0.99
_PLAIN = 1.5    # times as far: crops whose red and blue are exchanged, from what an engine may not take them for
# An engine may also add up in half, which no graph here does: a sum of 1,000 terms rounded at each step is off by
# 1,000**0.5 / 2048 of itself, 1.5 %, twice that is an angle of 0.03, and its cosine is off by 5e-4.
_LEAST_DISTANCE = 5e-4
_LINE = 500  # of a manifest
_AT_ONCE = 512


class Made(NamedTuple):
    """A precision as graphs.

    Attributes:
        shipped: By modality, with weights inside; none where the float32 graphs are what runs.
        judged: Graphs that compute the same on a processor, rounding and all.
        reasons: Why they may not even be measured.
    """

    shipped: dict[Modality, onnx.ModelProto]
    judged: dict[Modality, onnx.ModelProto]
    reasons: list[str]


@dataclass
class Climb:
    """What came of a ladder.

    Attributes:
        admitted: Graphs and figures of those that may serve.
        refused: Why the others may not.
    """

    admitted: dict[Precision, tuple[dict[Modality, onnx.ModelProto], Variant]] = field(default_factory=dict)
    refused: dict[Precision, str] = field(default_factory=dict)


def in_int8(models: Models, crops: Crops, method: Method, *, equalise: bool = True) -> dict[Modality, onnx.ModelProto]:
    """The int8 graph of each modality, all else float32.

    Args:
        models: Float32, with their weights inside.
        crops: From which ranges are found.
        method: How.
        equalise: Whether LightConv channels are made of one range first.
    """
    done = {}
    for modality, model in models.items():
        images = crops.images[modality]
        graph = equalised(lifted(model), images) if equalise else lifted(model)
        done[modality] = quantised(graph, reach(graph, sites(Graph(graph)), images, method))
    return done


def made_in(precision: Precision, models: Models, int8: Models, crops: Crops) -> Made:
    """Make the graphs of a precision.

    Args:
        precision: Any but "fp32".
        models: Float32, with their weights inside.
        int8: What `in_int8` made of them.
        crops: On which half precision must not overflow.
    """
    shipped: dict[Modality, onnx.ModelProto] = {}
    judged: dict[Modality, onnx.ModelProto] = {}
    reasons = []
    for modality, model in models.items():
        if precision == "bf16":
            judged[modality] = in_bfloat16(model)
            continue
        graph = model if precision == "fp16" else int8[modality]
        if precision in ("fp16", "int8_fp16"):
            if large := overflow.too_large(graph, crops.images[modality]):
                reasons.append(f"{modality}: {overflow.told(large)}")
                continue
            graph = to_half(graph)
        reasons += [f"{modality}: {breach}" for breach in breaches(graph)[:3]]
        shipped[modality] = graph
        judged[modality] = in_half(graph) if precision in ("fp16", "int8_fp16") else graph
    return Made(shipped, judged, reasons)


def climb(models: Models, height: int, width: int, golden: Drawn, *, asked: Sequence[Precision], crops: Crops,
          method: Method = "entropy", person_count: int = PEOPLE, out: TextIO | None = None) -> Climb:
    """Try precisions in turn; each is measured against those admitted before it.

    Args:
        models: Float32, with their weights inside.
        height: Rows of a crop.
        width: Columns of a crop.
        golden: From what the golden crops are drawn, whose embeddings an engine is held against.
        asked: Which, in any order.
        crops: From which ranges are found.
        method: How ranges are found.
        person_count: Whom the gate draws.
        out: Where figures are told; stdout if left out.
    """
    out = sys.stdout if out is None else out
    done = Climb()
    drawn = draw(people(person_count), height, width)
    shown = {modality: of_modality(drawn, modality) for modality in MODALITIES}
    drawn_golden = draw(golden, height, width)
    proof = {modality: of_modality(drawn_golden, modality) for modality in MODALITIES}
    plain = _embedded("fp32", models, shown)
    site = Site(drawn, plain)
    for direction, (rank1, mean_ap) in site.figures().items():
        print(f"gate      fp32       {direction:<18} rank-1 {rank1:.1f}, mAP {mean_ap:.1f}", file=out, flush=True)
    int8 = in_int8(models, crops, method) if {"int8", "int8_fp16"} & set(asked) else {}
    for precision in (one for one in LADDER if one in asked):
        made = made_in(precision, models, int8, crops)
        reasons, gate = list(made.reasons), None
        if not reasons:
            found = _embedded(precision, made.judged, shown)
            if all(np.isfinite(rows).all() for rows in found.values()):
                with Progress("pairs of engines and packings") as progress:
                    gate = site.judge(precision, found, progress)
                _tell(precision, gate, out)
                cosine = least_cosine([
                    *(np.quantile(distances(plain[modality], found[modality]), _QUANTILE) for modality in MODALITIES),
                    *(distances(by_onnx(models[modality], proof[modality]),
                                by_onnx(made.judged[modality], proof[modality])).max() for modality in MODALITIES)])
                reasons = faults(gate) + _blind(models["visible"], made.judged["visible"],
                                                                              proof["visible"])
            else:
                reasons = ["expected embeddings, found some that are no numbers"]
        if gate is None or reasons:
            done.refused[precision] = "; ".join(reasons).encode("ascii", "replace").decode()[:_LINE]
            print(f"gate      {precision:<10} refused: {done.refused[precision]}", file=out, flush=True)
            continue
        site.admit(precision, found)
        ranges = crops.ranges(method) if precision in ("int8", "int8_fp16") else None
        done.admitted[precision] = made.shipped, Variant(cosine, gate, ranges)
        print(f"gate      {precision:<10} admitted; a golden embedding must agree to a cosine of {cosine}", file=out,
              flush=True)
    return done


def least_cosine(apart: Sequence[float]) -> float:
    """How well an engine of a precision must agree with a golden embedding.

    Args:
        apart: Cosine distances that its graph was measured to have: of all but one in a hundred of the gate's crops,
            and of the worst golden one. The engine may have `MARGIN` times the largest.
    """
    return float(np.floor(1e4 * max(0.0, 1 - max(MARGIN * float(max(apart)), _LEAST_DISTANCE))) / 1e4)


def _blind(model: onnx.ModelProto, judged: onnx.ModelProto, visible: U8) -> list[str]:
    """A golden pair that could not tell colours in another order is no proof of an engine.

    `cmnas_edge.engine.check_golden` holds an engine to answer crops with red and blue exchanged worse than those
    without, on average; so they must lie well apart.
    """
    golden = by_onnx(model, visible)
    right = float(distances(golden, by_onnx(judged, visible)).mean())
    turned = float(distances(golden, by_onnx(judged, np.ascontiguousarray(visible[..., ::-1]))).mean())
    if turned >= _PLAIN * right:
        return []
    reason = f"its golden pair, {right:.4f} apart, could hardly tell red from blue, {turned:.4f} apart"
    return [reason]


def distances(a: F32, b: F32) -> npt.NDArray[np.float64]:
    """Cosine distances of rows, as `cmnas_edge.engine.check_golden` has them; 0 where there is no response at all."""
    product = (a.astype(np.float64) * b).sum(1)
    return np.where(a.any(1) | b.any(1), 1 - product, 0.0)


def _embedded(precision: Precision, models: Models, shown: Mapping[Modality, U8]) -> dict[Modality, F32]:
    every, done = sum(len(some) for some in shown.values()), 0
    found = {}
    with Progress(f"crops in {precision}") as progress:
        for modality, some in shown.items():
            embed, rows = opened(models[modality]), []
            for start in range(0, len(some), _AT_ONCE):
                rows.append(embed(some[start:start + _AT_ONCE]))
                done += len(rows[-1])
                progress(done, every)
            found[modality] = np.concatenate(rows)
    return found


def _tell(precision: Precision, gate: Gate, out: TextIO) -> None:
    for direction, count in gate.query_count.items():
        rank1, mean_ap = gate.rank1[direction], gate.mean_ap[direction]
        print(f"gate      {precision:<10} {direction:<18} {count} queries: lost rank-1 {rank1.drop:.2f} "
              f"(at most {rank1.bound:.2f}), mAP {mean_ap.drop:.2f} ({mean_ap.bound:.2f})", file=out)
    spread = ", ".join(f"{modality} {share:.3f}" for modality, share in gate.spread.items())
    print(f"gate      {precision:<10} spread {spread}; worst: {gate.worst}", file=out, flush=True)
