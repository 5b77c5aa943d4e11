"""What crosses from the workshop to a camera: a folder of graphs that vouches for each of its bytes.

A bundle holds one plain ONNX graph per modality and the weights both share, crops with the
embeddings they must give, thresholds, and drawn crops for retrieval checks on the device::

    manifest.json      what this is; size and sha256 of every other file
    manifest.sha256    sha256 of manifest.json, as `sha256sum -c` reads it
    manifest.sig       who has signed manifest.json (may be absent)
    visible.onnx  infrared.onnx  weights.bin
    visible.int8.onnx  infrared.int8.onnx  weights.int8.bin    and other precisions that passed the gate
    golden.npz         per modality: crops (n, h, w, 3) uint8, embeddings (n, d) float32
    calibration.json   thresholds per pair of modalities, for one fingerprint
    validation/        drawn crops as JPEG, and labels.json (may be absent)
    MODEL.md           the model card

`Bundle.open` reads nothing it has not verified: a flipped bit, a missing or an extra file and
an unknown schema are each a `BundleError`, and so is a signature that does not hold. That is
integrity, not authorship: whoever can write the folder can make another bundle. Rooms open theirs
with `open_trusted`, which wants a signature by a key pinned on the device.

The *fingerprint* says which embeddings may be compared. Whoever packs a bundle computes it from
the float32 graphs, the preprocessing and the dimension, never from file layout, precision or
thresholds, so recalibrating or quantising does not orphan a gallery. It is a claim: nothing here
computes it again, which takes the package onnx and no device has that (`export.weights` does).
What is checked is that manifest and calibration claim the same one. A bundle that claims
another's is found out only by what its embeddings do; a signature says who claims it.
"""

from __future__ import annotations

from cmnas_edge.bundle.folder import (
    CALIBRATION,
    GOLDEN,
    LABELS,
    MANIFEST,
    SIGNATURE,
    Bundle,
    default_path,
    graph_name,
    own_names,
    seal,
    weights_name,
)
from cmnas_edge.bundle.manifest import (
    PRECISIONS,
    Direction,
    Drawn,
    FileRecord,
    Gate,
    Loss,
    Manifest,
    Ranges,
    Retrieval,
    Variant,
)
from cmnas_edge.bundle.trust import Trust, Voucher, open_trusted, voucher
from cmnas_edge.calibration import SCHEMA, Calibration, Pair, Threshold, pair
from cmnas_edge.sighting import Precision

__all__ = ["CALIBRATION", "GOLDEN", "LABELS", "MANIFEST", "PRECISIONS", "SCHEMA", "SIGNATURE", "Bundle", "Calibration",
           "Direction", "Drawn", "FileRecord", "Gate", "Loss", "Manifest", "Pair", "Precision", "Ranges", "Retrieval",
           "Threshold", "Trust", "Variant", "Voucher", "default_path", "graph_name", "open_trusted", "own_names",
           "pair", "seal", "voucher", "weights_name"]
