"""The pictures inside a bundle, which are drawn ones, and the proof of it.

A bundle says from which seed its crops were drawn. Whoever doubts that no photograph of a
person lies in it draws them again, and compares: golden crops value by value, validation crops
after the same JPEG round trip. On the machine that packed it both are equal to the bit; elsewhere
another OpenCV or processor may round otherwise, so a picture may differ by `TOLERANCE` grey levels
on average. Files may not be longer than what is drawn explains, so nothing travels behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge import __version__
from cmnas_edge.bundle import GOLDEN, LABELS, Bundle, Drawn
from cmnas_edge.calibration import printable
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import BundleError
from cmnas_edge.synthetic.crops import CropSet, draw_set

__all__ = ["TOLERANCE", "Label", "Labels", "as_decoded", "draw", "jpeg", "labels", "of_modality", "stored",
           "verify_pictures"]

U8 = npt.NDArray[np.uint8]
# Mean absolute difference of a picture, in levels of 255. Two strangers' crops differ by 20 and more.
TOLERANCE = 2.0
_QUALITY = 92
# JPEG of a picture that differs by rounding may be a little longer; a picture behind it is not little.
_LONGER = 1.05
# Markers of a JPEG: of its frame, and those after which pixels would come, or nothing of known length.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STARTS_NO_SEGMENT = frozenset({0x01, 0xFF, *range(0xD0, 0xDB)})
_ARRAY_OVERHEAD = 4096  # zip and npy headers of four arrays


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who and what a validation crop shows."""

    file: str
    identity: int
    camera: int
    modality: Modality


class Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``validation/labels.json`` holds: a row per crop, in drawing order."""

    crops: list[Label]


class PictureReport(NamedTuple):
    """What was drawn again: how many pictures, and the worst mean difference in grey levels."""

    picture_count: int
    worst: float


def draw(drawn: Drawn, height: int, width: int) -> CropSet:
    """Draw a bundle's crops, again or for the first time."""
    people = range(drawn.first_identity, drawn.first_identity + drawn.identities)
    return draw_set(people, drawn.cameras, drawn.per_camera, height, width, drawn.seed)


def of_modality(crops: CropSet, modality: Modality) -> U8:
    """The pictures of one modality, in drawing order."""
    chosen: U8 = crops.images[crops.infrared == (modality == "infrared")]
    return chosen


def labels(crops: CropSet) -> Labels:
    """Name the crops of a validation set, each by its row, identity and camera."""
    rows = zip(crops.identity.tolist(), crops.camera.tolist(), crops.infrared.tolist(), strict=True)
    return Labels([Label(f"{row:05d}_{identity}_{camera}.jpg", identity, camera,
                         "infrared" if infrared else "visible")
                   for row, (identity, camera, infrared) in enumerate(rows)])


def jpeg(image: U8) -> bytes:
    """Encode a crop as the validation set keeps it."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise ValueError(f"expected a picture OpenCV can encode, found {image.dtype} {image.shape}")
    return bytes(data)


def stored(bundle: Bundle) -> CropSet:
    """A bundle's validation crops as its files have them.

    Raises:
        BundleError: A file is no JPEG of this bundle's size, or the labels are of another kind.
    """
    where = bundle.path / LABELS
    try:
        rows = msgspec.json.decode(where.read_bytes(), type=Labels).crops
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BundleError(f"{where}: expected a row per crop, found {printable(str(error))}; export again") from error
    if unknown := [row.file for row in rows if f"validation/{row.file}" not in bundle.manifest.files]:
        raise BundleError(f"{where}: names {unknown[0]!r}, which is not in the bundle; export again")
    size = (bundle.height, bundle.width)
    images = [as_decoded((where.parent / row.file).read_bytes(), size, str(where.parent / row.file)) for row in rows]
    return CropSet(np.array(images, np.uint8), np.array([row.identity for row in rows], np.int64),
                   np.array([row.camera for row in rows], np.int64),
                   np.array([row.modality == "infrared" for row in rows], bool))


def verify_pictures(bundle: Bundle) -> PictureReport:
    """Draw every picture of a bundle again and compare.

    Raises:
        BundleError: A picture is not the drawn one, or a file holds more than it.
    """
    manifest = bundle.manifest
    drawn = _again(bundle, "golden", manifest.golden, sum(len(bundle.golden(modality)[0]) for modality in MODALITIES))
    differences: list[float] = []
    explained = _ARRAY_OVERHEAD
    for modality in MODALITIES:
        crops, embeddings = bundle.golden(modality)
        explained += crops.nbytes + embeddings.nbytes
        differences += _compare(f"{bundle.path / GOLDEN}: {modality} crop", crops, of_modality(drawn, modality))
    _refuse_longer(f"{bundle.path / GOLDEN}", manifest.files[GOLDEN].bytes, explained)
    if manifest.validation.identities or LABELS in manifest.files:
        differences += _verify_validation(bundle)
    elif any(name.startswith("validation/") for name in manifest.files):
        raise BundleError(f"{bundle.path}/validation: expected no crops, found some; export again")
    return PictureReport(len(differences), max(differences, default=0.0))


def _verify_validation(bundle: Bundle) -> list[float]:
    folder = bundle.path / "validation"
    pictures = sum(name.startswith("validation/") and name != LABELS for name in bundle.manifest.files)
    drawn = _again(bundle, "validation", bundle.manifest.validation, pictures)
    expected = labels(drawn)
    wanted = {LABELS, *(f"validation/{label.file}" for label in expected.crops)}
    found = {name for name in bundle.manifest.files if name.startswith("validation/")}
    if found != wanted or (bundle.path / LABELS).read_bytes() != msgspec.json.encode(expected):
        raise BundleError(f"{folder}: expected the {len(expected.crops)} crops and labels of the recorded seed, "
                          "found others; export again")
    differences = []
    for label, image in zip(expected.crops, drawn.images, strict=True):
        data, again = (folder / label.file).read_bytes(), jpeg(image)
        if data == again:
            differences.append(0.0)
            continue
        where = f"{folder / label.file}"
        _refuse_longer(where, len(data), int(_LONGER * len(again)))
        size = (bundle.height, bundle.width)
        differences += _compare(where, [as_decoded(data, size, where)], [as_decoded(again, size, where)])
    return differences


def _again(bundle: Bundle, what: str, drawn: Drawn, held: int) -> CropSet:
    """Draw a set of a bundle again, if it is as large as what the bundle holds."""
    where = f"{bundle.path / 'manifest.json'}: {what}"
    if (asked := drawn.identities * len(drawn.cameras) * drawn.per_camera) != held:
        raise BundleError(f"{where}: expected a record of the {held} crops in the bundle, found others ({asked}); "
                          "export again")
    try:
        return draw(drawn, bundle.height, bundle.width)
    except (ValueError, OverflowError, MemoryError) as error:
        raise BundleError(f"{where}: expected crops that can be drawn, found others ({error}); "
                          "export again") from error


def as_decoded(data: bytes, size: tuple[int, int], where: str) -> U8:
    """Decode a picture, ``(h, w, 3)`` BGR, if it says that it is of this size: others may take long, or all memory.

    Args:
        data: A JPEG.
        size: Height and width.
        where: Is named if it is none, or another.

    Raises:
        BundleError: It is no JPEG, or not of this size.
    """
    found, image = _said_size(data), None
    if found == size:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        found = None if image is None else (image.shape[0], image.shape[1])     # it may say that it is to be turned
    if found is None:
        raise BundleError(f"{where}: expected a JPEG, found something else; export again")
    if found != size:
        raise BundleError(f"{where}: expected a picture of {size[0]} x {size[1]} (height x width), found one of "
                          f"{found[0]} x {found[1]}; export again")
    decoded: U8 = np.asarray(image, np.uint8)
    return decoded


def _said_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in a JPEG's first frame header (ITU-T T.81, B.2.2); libjpeg takes no second one.

    None: it is no JPEG, or not as any encoder writes it.
    """
    at = 2
    while data.startswith(b"\xff\xd8") and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            return int.from_bytes(data[at + 5:at + 7], "big"), int.from_bytes(data[at + 7:at + 9], "big")
        if marker in _STARTS_NO_SEGMENT:
            break
        at += 2 + int.from_bytes(data[at + 2:at + 4], "big")
    return None


def _compare(where: str, found: Sequence[U8] | U8, expected: Sequence[U8] | U8) -> list[float]:
    if len(found) != len(expected):
        raise BundleError(f"{where}: expected {len(expected)} drawn pictures, found {len(found)}; export again")
    differences = []
    for row, (a, b) in enumerate(zip(found, expected, strict=True)):
        same = a.shape == b.shape
        difference = float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean()) if same else 255.0
        if difference > TOLERANCE:
            raise BundleError(f"{where} {row}: expected the picture drawn from the recorded seed within {TOLERANCE} "
                              f"grey levels on average, found {difference:.1f}; it is another picture, or "
                              f"drawn by another version (this one is {__version__}): export again")
        differences.append(difference)
    return differences


def _refuse_longer(where: str, found: int, explained: int) -> None:
    if found > explained:
        raise BundleError(f"{where}: expected at most {explained} bytes for what is drawn, found {found}; "
                          "something else is in this file: do not use it, export again")
