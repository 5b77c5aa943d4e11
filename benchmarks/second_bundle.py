"""Another bundle, made of the shipped one: weights moved a little, and so vectors that do not compare.

It is written by ``python -m benchmarks.second_bundle FOLDER``, too.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime

from cmnas_edge.bundle import CALIBRATION, GOLDEN, Bundle, default_path, seal
from cmnas_edge.embedding import MODALITIES

__all__ = ["second_bundle"]

_KEPT = ("visible.onnx", "infrared.onnx", "weights.bin", GOLDEN, CALIBRATION, "MODEL.md")
_MOVED = 0.05   # the cosine with the first's embedding is 0.96 to 0.98 then, and people are told apart as before


def second_bundle(folder: Path) -> Bundle:
    """Write it; its calibration is the first's, which its scores lie near enough to."""
    first = Bundle.open(default_path())
    folder.mkdir(parents=True)
    for name in _KEPT:
        shutil.copy(default_path() / name, folder)
    shutil.copytree(default_path() / "validation", folder / "validation")
    weights = np.frombuffer((folder / "weights.bin").read_bytes(), np.float32)
    moved = 1 + _MOVED * np.random.default_rng(1).standard_normal(len(weights))
    (folder / "weights.bin").write_bytes((weights * moved).astype(np.float32).tobytes())
    golden = dict(np.load(folder / GOLDEN))
    for modality in MODALITIES:
        session = onnxruntime.InferenceSession(str(folder / f"{modality}.onnx"), providers=["CPUExecutionProvider"])
        golden[f"{modality}_embeddings"] = session.run(None, {"crops": golden[f"{modality}_crops"]})[0]
    np.savez(folder / GOLDEN, **golden)
    fingerprint = hashlib.sha256(b"a second one").hexdigest()
    calibration = (folder / CALIBRATION).read_text("utf-8").replace(first.fingerprint_hex, fingerprint)
    (folder / CALIBRATION).write_text(calibration, "utf-8")
    return seal(folder, msgspec.structs.replace(first.manifest, name="second", fingerprint=fingerprint, variants={},
                                                files={}))
