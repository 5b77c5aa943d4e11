"""The model card that travels inside a bundle: what it is, what it was measured to do, what not to expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmnas_edge.bundle import Pair, Precision, Threshold, Variant
from export.calibration_report import section
from export.parity import LIMIT, Step
from train.networks.build import Network
from train.networks.checkpoint import Checkpoint
from train.networks.design import RELEASED, differences

__all__ = ["with_precisions", "write_card"]

_HEADING = "## Precisions\n"
_BEFORE = "## What it is not good for\n"


def write_card(name: str, network: Network, meta: Checkpoint, steps: Sequence[Step],
               thresholds: dict[Pair, Threshold]) -> str:
    """Markdown; ``{fingerprint}`` is left for who packs the graphs."""
    choices = [choice for _, choice in network.arch.choices]
    counts = ", ".join(f"{choices.count(choice)} {choice}" for choice in sorted(set(choices)))
    built = ", ".join(differences(RELEASED, network.arch.design))
    worst = max(step.absolute_error for step in steps)
    return f"""# {name}

Turns crops of people, visible or infrared, into embeddings that may be compared with each other.

| | |
|---|---|
| backbone | {network.arch.backbone}{f" with {built}" if built else ""}; BatchNorm sites: {counts or "none"} |
| input | `crops`, uint8 (n, {meta.height}, {meta.width}, 3), BGR |
| output | `embeddings`, float32 (n, {network.dimension}), unit length |
| fingerprint, claimed by whoever packed this; not signed | `{{fingerprint}}` |
| trained from | commit {meta.commit}, seed {meta.seed}, data {meta.data} |
| parity, training network to ONNX Runtime | {worst:.1e} at most in an entry (limit {LIMIT:g}) |

{section(thresholds, "drawn")}## What it is not good for

These thresholds say nothing about real people until calibrated on a site's own footage. An embedding is
biometric data. No photograph of anybody is inside: every picture is drawn, and `cmnas-edge bundle verify`
draws each again from its seed.
"""


def with_precisions(card: str, variants: Mapping[Precision, Variant], refused: Mapping[Precision, str]) -> str:
    """A card that says what each precision was measured to cost; an earlier such section gives way.

    Args:
        card: Markdown, as `write_card` makes it.
        variants: Precisions that may serve.
        refused: Those that may not, and why.
    """
    head, _, rest = card.partition(_HEADING)
    if rest:
        rest = rest[rest.find("## "):] if "## " in rest else ""
    else:
        head, middle, tail = card.partition(_BEFORE)
        rest = middle + tail
    if not variants and not refused:
        return head + rest
    rows = [f"| {precision} | {direction} | {loss.drop:.2f} (at most {loss.bound:.2f}) "
            f"| {variant.gate.mean_ap[direction].drop:.2f} ({variant.gate.mean_ap[direction].bound:.2f}) "
            f"| {variant.gate.query_count[direction]} |"
            for precision, variant in variants.items() for direction, loss in variant.gate.rank1.items()]
    lines = [_HEADING, "Points lost against float32 on drawn people, in the worst meeting of engines and packings on",
             "one site; in brackets the bound of 95 % confidence.", ""]
    if rows:
        lines += ["| precision | who asks whom | rank-1 | mAP | queries |", "|---|---|---|---|---|", *rows, ""]
    lines += [f"- {precision} may not serve: {reason}." for precision, reason in refused.items()]
    lines += [""] if refused else []
    return head + "\n".join(lines) + "\n" + rest
