"""First contact of a bundle with a device: everything that can go wrong is tried, measured and written down.

For each precision and modality: build, load, golden embeddings, agreement with ONNX Runtime in float32 on the bundle's
own pictures, every batch from 0 to one more than the largest, thousands of frames of changing size whose every
embedding is checked, opening and closing again and again, and what all of it takes in time and memory. Without
TensorRT the same is done to ONNX Runtime, which proves the proof and says so.

What is tried is code of others, and met for the first time: whatever becomes of one subject stands in the report as
its verdict, and the report is handed out after each.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence

from cmnas_edge import __version__
from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine.proof import Asked, Proof, Subject
from cmnas_edge.engine.prove_device import processor, versions
from cmnas_edge.engine.tensorrt import RUNS
from cmnas_edge.engine.tensorrt.device import power_mode
from cmnas_edge.engine.trial import Look, Trials, pictures
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["prove"]


def prove(bundle: Bundle, asked: Asked, trials: Trials, look: Look, *, precisions: Sequence[Precision] = RUNS,
          say: Callable[[str], None], keep: Callable[[Proof], None] = lambda _: None) -> Proof:
    """Try a bundle on this device.

    Args:
        bundle: Which.
        asked: How much.
        trials: Where each subject is tried.
        look: What TensorRT said of this device.
        precisions: Of TensorRT's.
        say: Is told a line at a time.
        keep: Is given the report after each subject, and at the end.
    """
    proof = Proof(1, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), f"cmnas-edge {__version__}", bundle.name,
                  bundle.fingerprint_hex, look.lacking, look.device, power_mode(),
                  f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
                  processor(), len(os.sched_getaffinity(0)), versions(look.tensorrt),
                  min(len(pictures(bundle, modality)) for modality in MODALITIES), asked.how.most_batch, [])
    engines: list[tuple[EngineName, Precision]] = [("onnxruntime", "fp32")]
    if not look.lacking:
        engines += [("tensorrt", precision) for precision in bundle.precisions if precision in precisions]
    for name, precision in engines:
        for modality in MODALITIES:
            subject = Subject(name, precision, modality)
            say(f"\n{subject}")
            proof.subjects.append(trials.attempt(subject, say))
            say(f"  verdict   {proof.subjects[-1].verdict}")
            keep(proof)
    proof.whole = True
    keep(proof)
    return proof
