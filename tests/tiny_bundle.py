"""The tiny bundle of `tests/contract`, to copy and to tamper with, for tests that need any bundle.

Its pictures were drawn by the version that was released. Drawing may change since; tests that
draw them again take `redrawn_tiny`, the same graphs with pictures of today.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime

from cmnas_edge.bundle import GOLDEN, LABELS, Bundle, Gate, Loss, Precision, Variant, graph_name, seal, weights_name
from cmnas_edge.bundle.pictures import draw, jpeg, labels, of_modality, stored
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.validation import F32, U8, search

TINY = Path(__file__).parent / "contract" / "0.1.0" / "bundle"


def copy_tiny(folder: Path) -> Path:
    """A copy of the tiny bundle inside a folder."""
    return Path(shutil.copytree(TINY, folder / "tiny"))


def redrawn_tiny(folder: Path) -> Path:
    """A copy of the tiny bundle inside a folder, its pictures drawn now."""
    path = copy_tiny(folder)
    bundle = Bundle.open(path)
    sessions = {modality: onnxruntime.InferenceSession(str(bundle.graph(modality)), providers=["CPUExecutionProvider"])
                for modality in MODALITIES}

    def embed(crops: U8, modality: Modality) -> F32:
        return np.asarray(sessions[modality].run(None, {"crops": crops})[0])

    golden = draw(bundle.manifest.golden, bundle.height, bundle.width)
    crops = {modality: of_modality(golden, modality) for modality in MODALITIES}
    np.savez(path / GOLDEN, **{f"{m}_crops": crops[m] for m in MODALITIES},
             **{f"{m}_embeddings": embed(crops[m], m) for m in MODALITIES})
    validation = draw(bundle.manifest.validation, bundle.height, bundle.width)
    rows = labels(validation)
    (path / LABELS).write_bytes(msgspec.json.encode(rows))
    for row, image in zip(rows.crops, validation.images, strict=True):
        (path / "validation" / row.file).write_bytes(jpeg(image))
    found = search(stored(seal(path, bundle.manifest)), embed)
    seal(path, msgspec.structs.replace(bundle.manifest, retrieval=found))
    return path


def with_variant(path: Path, precision: Precision, golden_cosine: float = 0.999) -> Bundle:
    """Give a copy of the tiny bundle a precision more: float32 graphs under other names, and figures of nobody's."""
    bundle = Bundle.open(path)
    for modality in MODALITIES:
        if (path / graph_name(modality, precision)) != bundle.graph(modality):
            shutil.copy(bundle.graph(modality), path / graph_name(modality, precision))
    if precision != "bf16":
        shutil.copy(path / "weights.bin", path / weights_name(precision))
    none = Loss(0.0, 0.0)
    directions = ("visible-visible", "infrared-infrared", "infrared-visible", "visible-infrared")
    gate = Gate(dict.fromkeys(directions, 2000), dict.fromkeys(directions, none), dict.fromkeys(directions, none),
                dict.fromkeys(MODALITIES, 1.0), "fp32 alone")
    variants = {**bundle.manifest.variants, precision: Variant(golden_cosine, gate)}
    return seal(path, msgspec.structs.replace(bundle.manifest, variants=variants))


def reseal(bundle: Path, edit: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """Do what a forger can: edit the manifest, and make every digest and size agree again."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    for name, record in manifest["files"].items():
        if (bundle / name).is_file():
            data = (bundle / name).read_bytes()
            record.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    edit(manifest)
    text = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(text)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")
