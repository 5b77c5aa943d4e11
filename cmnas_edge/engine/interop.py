"""A bundle for other programs: graphs as TensorRT reads them, the ``trtexec`` line, and Triton's ``config.pbtxt``.

All of it follows from the bundle's manifest. A plan that ``trtexec`` makes is not one of ours: it has no manifest, so
`cmnas-edge` never loads it. DeepStream's tracker is left out: it feeds its re-identification network floats it has
normalised itself, picture by picture in planes, where a bundle's graphs take the crops' bytes.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cmnas_edge.bundle import Bundle, weights_name
from cmnas_edge.bundle.outside import check_outside
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.engine.tensorrt.bytes_first import cast_first
from cmnas_edge.engine.tensorrt.cache import check_writable, write_together
from cmnas_edge.engine.tensorrt.job import How
from cmnas_edge.sighting import Precision

__all__ = ["triton_config", "trtexec_line", "write_files"]

_WAIT_US = 2000     # Triton waits this long for a batch to fill: a fraction of the time between frames


def write_files(bundle: Bundle, precision: Precision, how: How, out: Path) -> list[Path]:
    """Write graphs, weights, ``build.sh`` and a Triton repository without plans.

    Args:
        bundle: Which.
        precision: One of the bundle's.
        how: Batches and workspace.
        out: A folder; made if it is not there.

    Returns:
        What was written.

    Raises:
        BundleError: The bundle has no such graph.
        ConfigError: The folder cannot be written to.
        DiskFull: There is no room.
    """
    weights = (bundle.graph("visible", precision).parent / weights_name(precision)).read_bytes()
    check_outside(out, "--out")
    check_writable(out, "--out")
    files = {out / weights_name(precision): weights}
    lines = ["#!/bin/sh", "# Run this on the device that shall run the plans, in this folder.", "set -e"]
    for modality in MODALITIES:
        graph = bundle.graph(modality, precision)
        model = model_name(bundle, modality)
        files[out / graph.name] = cast_first(graph.read_bytes())
        files[out / "triton" / model / "config.pbtxt"] = triton_config(bundle, modality, how).encode()
        lines += [f"mkdir -p triton/{model}/1",
                  trtexec_line(bundle, graph.name, how, f"triton/{model}/1/model.plan")]
    files[out / "build.sh"] = ("\n".join(lines) + "\n").encode()
    for path, data in files.items():
        write_together((path, data), option="--out")
    return list(files)


def model_name(bundle: Bundle, modality: Modality) -> str:
    """What Triton shall call a graph: letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{bundle.name}_{modality}").strip("_")


def trtexec_line(bundle: Bundle, graph: str, how: How, plan: str) -> str:
    """The command that builds what `cmnas_edge.engine.tensorrt.build` builds."""
    def at(batch: int) -> str:
        return f"crops:{batch}x{bundle.height}x{bundle.width}x3"

    words = ["trtexec", f"--onnx={graph}", "--stronglyTyped", "--noTF32", f"--minShapes={at(1)}",
             f"--optShapes={at(how.usual_batch)}", f"--maxShapes={at(how.most_batch)}",
             f"--memPoolSize=workspace:{how.workspace_mib}", f"--builderOptimizationLevel={how.level}",
             f"--saveEngine={plan}"]
    return shlex.join(words)


def triton_config(bundle: Bundle, modality: Modality, how: How) -> str:
    """Triton's description of a plan; the batch is its own dimension there and stands in no shape."""
    return f"""name: "{model_name(bundle, modality)}"
platform: "tensorrt_plan"
max_batch_size: {how.most_batch}
input [ {{ name: "crops" data_type: TYPE_UINT8 dims: [ {bundle.height}, {bundle.width}, 3 ] }} ]
output [ {{ name: "embeddings" data_type: TYPE_FP32 dims: [ {bundle.dimension} ] }} ]
dynamic_batching {{ preferred_batch_size: [ {how.usual_batch} ] max_queue_delay_microseconds: {_WAIT_US} }}
instance_group [ {{ kind: KIND_GPU count: 1 }} ]
parameters {{ key: "fingerprint" value: {{ string_value: "{bundle.fingerprint_hex}" }} }}
"""
