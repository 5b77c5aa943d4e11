"""Lay out a bundle: graphs, golden pair, thresholds, drawn crops, model card; then seal it."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from cmnas_edge import __version__
from cmnas_edge.bundle import (
    CALIBRATION,
    GOLDEN,
    LABELS,
    SCHEMA,
    Bundle,
    Calibration,
    Drawn,
    Manifest,
    Pair,
    Retrieval,
    Threshold,
    seal,
)
from cmnas_edge.bundle.outside import check_outside
from cmnas_edge.bundle.pictures import as_decoded, draw, jpeg, labels, of_modality
from cmnas_edge.calibration import Scale, encode
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import ConfigError, unwritable
from cmnas_edge.preprocess import DEFINITION
from cmnas_edge.validation import Embed, search
from export.replacement import put
from export.weights import fingerprint, write_graphs

__all__ = ["Contents", "check_free", "placed", "write_bundle"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        name: What the bundle calls itself.
        backbone: For people to read.
        models: The float32 model of each modality, weights inside.
        height: Rows of a crop.
        width: Columns of a crop.
        dimension: Entries of an embedding.
        golden: From what the golden crops are drawn; cameras of both modalities.
        validation: From what the validation crops are drawn; 0 identities for none.
        thresholds: Per pair, found on drawn people.
        card: Text of the model card, Markdown; ``{fingerprint}`` is filled in.
        preprocessing: How crops are made for it: as in training.
        scales: What scores are worth, per pair of all or of none.
        prior: Of the scales.
    """

    name: str
    backbone: str
    models: Mapping[Modality, onnx.ModelProto]
    height: int
    width: int
    dimension: int
    golden: Drawn
    validation: Drawn
    thresholds: dict[Pair, Threshold]
    card: str
    preprocessing: str = DEFINITION
    scales: Mapping[Pair, Scale] = field(default_factory=dict)
    prior: float | None = None


def check_free(out: Path, *, replace: bool = False) -> None:
    """Find out whether a bundle may be written somewhere, before an hour goes into it.

    Raises:
        ConfigError: ``out`` exists, and is no bundle or not to be replaced, or is a link; it lies in a bundle; or its
            folder cannot be made or written to.
        DiskFull: There is no room.
    """
    try:
        if (out.is_symlink() or out.exists()) and not (replace and (out / "manifest.json").is_file()):
            raise ConfigError(f"{out}: expected a path where nothing is, found something; name another"
                              " or, if it is a bundle, pass --replace")
        if out.is_symlink():
            raise ConfigError(f"{out}: expected a bundle's own folder to replace, found a link; name another, and put "
                              "it on devices with: cmnas-edge bundle install")
        check_outside(out.absolute().parent, "--out")
        out.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.").cleanup()
    except OSError as error:
        raise unwritable(out, "a bundle", error, "name another --out") from error


def write_bundle(out: Path, contents: Contents, embed: Embed, *, replace: bool = False) -> Bundle:
    """Write a bundle; a half-written one is never seen under its name.

    Args:
        out: The folder to become a bundle.
        contents: What goes in.
        embed: The source of truth for golden embeddings: the training network itself.
        replace: Put the new bundle in the place of one that is there.

    Raises:
        ConfigError: ``out`` exists, and is no bundle or not to be replaced; or it cannot be written.
        DiskFull: There is no room; nothing is left of what was begun.
    """
    with placed(out, replace=replace) as folder:
        print_of = fingerprint(contents.models, contents.preprocessing, contents.dimension)
        write_graphs(contents.models, folder)
        _write_golden(folder, contents, embed)
        retrieval = _write_validation(folder, contents, embed)
        calibration = Calibration(2 if contents.scales else 1, print_of, "drawn", contents.thresholds,
                                  dict(contents.scales), contents.prior)
        (folder / CALIBRATION).write_bytes(encode(calibration))
        (folder / "MODEL.md").write_text(contents.card.replace("{fingerprint}", print_of), "utf-8")
        seal(folder, Manifest(
            schema=SCHEMA, name=contents.name, made_by=f"cmnas-edge {__version__}", backbone=contents.backbone,
            precision="fp32", fingerprint=print_of, dimension=contents.dimension, height=contents.height,
            width=contents.width, preprocessing=contents.preprocessing, golden=contents.golden,
            validation=contents.validation, retrieval=retrieval, files={}))
    return Bundle.open(out)


@contextmanager
def placed(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """A folder to fill, which becomes ``out`` when the block ends well; otherwise nothing is left of it.

    Raises:
        ConfigError: As `check_free` does.
        DiskFull: There is no room.
    """
    check_free(out, replace=replace)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            folder = Path(scratch) / "bundle"
            folder.mkdir()
            yield folder
            put(folder, out, replace=replace)
    except OSError as error:
        raise unwritable(out, "a bundle", error, "name another --out") from error


def _write_golden(folder: Path, contents: Contents, embed: Embed) -> None:
    drawn = draw(contents.golden, contents.height, contents.width)
    arrays: dict[str, npt.NDArray[np.uint8] | F32] = {}
    for modality in MODALITIES:
        crops = of_modality(drawn, modality)
        arrays[f"{modality}_crops"] = crops
        arrays[f"{modality}_embeddings"] = embed(crops, modality)
    data = io.BytesIO()
    np.savez(data, **arrays)  # type: ignore[arg-type] # not compressed: its size then says that nothing else is in it
    (folder / GOLDEN).write_bytes(data.getvalue())


def _write_validation(folder: Path, contents: Contents, embed: Embed) -> Retrieval | None:
    if not contents.validation.identities:
        return None
    drawn = draw(contents.validation, contents.height, contents.width)
    rows = labels(drawn)
    (folder / LABELS).parent.mkdir()
    (folder / LABELS).write_bytes(msgspec.json.encode(rows))
    images = np.empty_like(drawn.images)
    for image, label, original in zip(images, rows.crops, drawn.images, strict=True):
        data = jpeg(original)
        (folder / "validation" / label.file).write_bytes(data)
        image[:] = as_decoded(data, image.shape[:2], label.file)
    return search(dataclasses.replace(drawn, images=images), embed)
