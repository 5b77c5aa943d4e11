"""A proof as a picture: time and memory over the frames, and how far each subject is from ONNX Runtime."""

from __future__ import annotations

import math
from pathlib import Path

from cmnas_edge.engine.proof import Proof

__all__ = ["draw_proof"]

_LEAST, _MOST = 1e-16, 10.0     # of a distance on paper; that of two unit vectors is 2 at most


def draw_proof(proof: Proof, path: Path) -> None:
    """Draw a proof into a PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not here; nothing but the picture needs it.
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(11, 7), layout="constrained")
    (times, memory), (parity, batches) = figure.subplots(2, 2)
    for subject in proof.subjects:
        if (frames := subject.frames) is not None:
            step = frames.count / max(1, len(frames.ms))
            times.plot([step * place for place in range(len(frames.ms))], frames.ms, label=str(subject), linewidth=1)
            step = frames.count / max(1, len(frames.resident_mib))
            memory.plot([step * place for place in range(len(frames.resident_mib))], frames.resident_mib, linewidth=1)
        if subject.batches:
            batches.plot(list(map(_shown, subject.batches)), linewidth=1)
    rows = [subject for subject in proof.subjects if subject.parity is not None]
    parity.barh(range(len(rows)), [_shown(row.parity or 0.0) for row in rows], color="#7f8d9b")
    parity.scatter([_shown(row.limit) for row in rows], range(len(rows)), marker="|", s=200, color="#b03a2e")
    parity.set_yticks(range(len(rows)), [f"{row}\n{'passed' if row.verdict == 'passed' else 'FAILED'}" for row in rows],
                      fontsize=7)
    parity.set(xscale="log" if rows else "linear",
               xlabel="worst distance from ONNX Runtime in fp32 on the bundle's pictures; red: limit")
    times.set(xlabel="frame", ylabel="ms, median", ylim=(0, None))
    if times.lines:     # nobody may have come so far; nor has a logarithm of nothing a scale
        times.legend(fontsize=7)
    most = max((max(subject.frames.resident_mib) for subject in proof.subjects if subject.frames is not None),
               default=1.0)
    memory.set(xlabel="frame", ylabel="MiB of the process", ylim=(0, 1.2 * max(1.0, most)))
    batches.set(yscale="log" if batches.lines else "linear", xlabel="crops at once", ylabel="worst distance")
    figure.suptitle(f"{proof.bundle} ({proof.fingerprint[:12]}), {proof.date}\n{proof.device or proof.processor}"
                    f"{', power mode ' + proof.power_mode if proof.power_mode else ''}\n"
                    + ("" if not proof.lacking else "no figure of TensorRT: it is not here"), fontsize=9)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def _shown(distance: float) -> float:
    """Where a distance stands on paper: what is endless or no number, at its edge."""
    return min(_MOST, max(_LEAST, distance)) if not math.isnan(distance) else _MOST
