"""A bundle's folder: read, every byte of it verified, and sealed."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import signature
from cmnas_edge.bundle.manifest import PRECISIONS, FileRecord, Manifest
from cmnas_edge.calibration import CalibratedOn, Calibration, Pair, Threshold, decode, printable, read_calibration
from cmnas_edge.embedding import MODALITIES, Modality
from cmnas_edge.errors import BundleError
from cmnas_edge.preprocess import DEFINITIONS
from cmnas_edge.sighting import Precision

__all__ = ["CALIBRATION", "GOLDEN", "LABELS", "MANIFEST", "MANIFEST_DIGEST", "SIGNATURE", "Bundle", "default_path",
           "graph_name", "own_names", "seal", "weights_name"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
SIGNATURE = "manifest.sig"
GOLDEN = "golden.npz"
CALIBRATION = "calibration.json"
LABELS = "validation/labels.json"
REQUIRED = ("visible.onnx", "infrared.onnx", "weights.bin", GOLDEN, CALIBRATION, "MODEL.md")
# One folder deep, no name that a shell, an archive or another file system would read differently.
_VALIDATION_NAME = re.compile(r"validation/[a-z0-9_]{1,64}\.(?:jpg|json)\Z")
_LARGEST_MANIFEST = 8 << 20
_LARGEST_GOLDEN = 64 << 20


def graph_name(modality: Modality, precision: Precision) -> str:
    """What the graph file of a modality is called that runs in some precision."""
    return f"{modality}.onnx" if precision in ("fp32", "bf16") else f"{modality}.{precision}.onnx"


def weights_name(precision: Precision) -> str:
    """What the file is called that both graphs of a precision keep their weights in."""
    return "weights.bin" if precision in ("fp32", "bf16") else f"weights.{precision}.bin"


def default_path() -> Path:
    """The bundle that ships with the package, made from drawn people.

    Raises:
        BundleError: This installation carries none.
    """
    path = Path(__file__).parents[1] / "models" / "drawn"
    if not (path / MANIFEST).is_file():
        raise BundleError(f"{path}: expected the bundle that ships with cmnas-edge, found none; "
                          "reinstall the package or name a bundle of your own")
    return path


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. Make one with `open`; the fields are what its files say.

    Attributes:
        path: Its folder.
        manifest: What it says of itself.
        calibration: Its thresholds.
        manifest_sha256: Digest of its manifest in hexadecimal, and so of every byte but signatures.
        signers: Public keys, in hexadecimal, that have signed it; nothing is said of whose they are.
    """

    path: Path
    manifest: Manifest
    calibration: Calibration
    manifest_sha256: str = ""
    signers: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Verify a bundle, every byte of it, and read its manifest and thresholds.

        A link is followed once, so that what is opened stays one bundle while the link is switched.

        Raises:
            BundleError: A file is missing, changed, too many or of an unknown schema, or a
                signature does not hold; the message names it. Or this user may not read it.
            DeviceError: It is signed, and the package that checks signatures is missing.
        """
        path = Path(path)
        try:
            if path.is_symlink():
                path = path.resolve()
            data = _read_manifest(path)
            signers = _read_signers(path, data)
            manifest = decode(data, Manifest, str(path / MANIFEST))
            if manifest.preprocessing not in DEFINITIONS:
                raise BundleError(f"{path / MANIFEST}: expected crops made in one of the {len(DEFINITIONS)} ways that "
                                  f"this cmnas-edge knows, found {printable(manifest.preprocessing)!r}; use the "
                                  "cmnas-edge that made it, or export again")
            _verify_files(path, manifest)
            where = path / CALIBRATION
            return cls(path, manifest, read_calibration(where.read_bytes(), manifest.fingerprint, str(where)),
                       hashlib.sha256(data).hexdigest(), signers)
        except OSError as error:
            raise BundleError(f"{printable(str(error.filename or path))}: expected a file this user can read, found "
                              f"{error.strerror}; check its owner and mode, or the disk") from error

    @property
    def name(self) -> str:
        """What the bundle calls itself."""
        return self.manifest.name

    @property
    def backbone(self) -> str:
        """Which network made its graphs."""
        return self.manifest.backbone

    @property
    def fingerprint(self) -> bytes:
        """32 bytes; embeddings of the same fingerprint may be compared, others not."""
        return bytes.fromhex(self.manifest.fingerprint)

    @property
    def fingerprint_hex(self) -> str:
        """The fingerprint as 64 lower-case hexadecimal digits."""
        return self.manifest.fingerprint

    @property
    def dimension(self) -> int:
        """Entries of an embedding."""
        return self.manifest.dimension

    @property
    def height(self) -> int:
        """Rows of a crop."""
        return self.manifest.height

    @property
    def width(self) -> int:
        """Columns of a crop."""
        return self.manifest.width

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Arithmetic that may serve: ``"fp32"``, then what else passed the gate."""
        return "fp32", *(precision for precision in PRECISIONS if precision in self.manifest.variants)

    @property
    def thresholds(self) -> dict[Pair, Threshold]:
        """From which cosine on two embeddings match, per pair of modalities."""
        return self.calibration.thresholds

    @property
    def calibrated_on(self) -> CalibratedOn:
        """On whom the thresholds were found; ``"drawn"`` people promise little about real ones."""
        return self.calibration.calibrated_on

    def graph(self, modality: Modality, precision: Precision = "fp32") -> Path:
        """The ONNX graph of a modality; its weights lie beside it.

        Raises:
            BundleError: The bundle has no such graph.
        """
        if precision not in self.precisions:
            reason = self.manifest.refused.get(precision, "it was never made")
            raise BundleError(f"{self.path}: expected one of the precisions {', '.join(self.precisions)}, found "
                              f"{precision} asked for ({printable(reason)}); choose another, or export with it")
        return self.path / graph_name(modality, precision)

    def golden(self, modality: Modality) -> tuple[U8, F32]:
        """Crops ``(n, h, w, 3)`` and the unit vectors ``(n, d)`` that every engine must give for them.

        Raises:
            BundleError: The arrays are not of that shape and type.
        """
        where = self.path / GOLDEN
        names = sorted(f"{m}_{what}" for m in MODALITIES for what in ("crops", "embeddings"))
        try:
            data = io.BytesIO(where.read_bytes())
            with zipfile.ZipFile(data) as archive:
                if (size := sum(member.file_size for member in archive.infolist())) > _LARGEST_GOLDEN:
                    raise ValueError(f"{size} bytes when unpacked")     # what a few bytes can become
            with np.load(data, allow_pickle=False) as arrays:
                found = sorted(arrays.files)
                # numpy hands out as bytes whatever does not begin as an array does.
                crops, embeddings = (np.asarray(arrays[name] if name in found else b"")
                                     for name in (f"{modality}_crops", f"{modality}_embeddings"))
        except Exception as error:  # numpy raises whatever its zip, header and array readers met
            raise BundleError(f"{where}: expected numpy arrays, found something else "
                              f"({printable(str(error))}); export again") from error
        if found != names:
            raise BundleError(f"{where}: expected arrays {names}, found {found}; export again")
        n = crops.shape[0] if crops.ndim else 0
        shapes = crops.shape == (n, self.height, self.width, 3) and embeddings.shape == (n, self.dimension)
        if not n or not shapes or crops.dtype != np.uint8 or embeddings.dtype != np.float32:
            raise BundleError(f"{where}: expected uint8 crops and float32 embeddings of this bundle's size, "
                              f"found {crops.dtype} {crops.shape} and {embeddings.dtype} {embeddings.shape}")
        return cast("U8", crops), cast("F32", embeddings)


def seal(folder: Path, manifest: Manifest) -> Bundle:
    """Write the manifest over the files a folder holds now, and open the result; nobody has signed it yet.

    Args:
        folder: Holds every other file of the bundle.
        manifest: Everything but ``files``, which is filled in here.

    Raises:
        BundleError: What the folder holds makes no bundle.
    """
    for name in own_names():
        (folder / name).unlink(missing_ok=True)
    files = {}
    for name in sorted(_names(folder)):
        data = (folder / name).read_bytes()
        files[name] = FileRecord(len(data), hashlib.sha256(data).hexdigest())
    text = msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(manifest, files=files)), indent=1)
    (folder / MANIFEST).write_bytes(text + b"\n")
    (folder / MANIFEST_DIGEST).write_bytes(_digest_line(text + b"\n"))
    return Bundle.open(folder)


def own_names() -> tuple[str, str, str]:
    """The files of a bundle that its manifest cannot list: itself, its digest, and its signatures, if any."""
    return MANIFEST, MANIFEST_DIGEST, SIGNATURE


def _digest_line(data: bytes) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n".encode()


def _names(folder: Path) -> set[str]:
    """Everything in the folder that is not itself a folder, links included."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")
            if path.is_symlink() or not path.is_dir()}


def _read_manifest(folder: Path) -> bytes:
    where = folder / MANIFEST
    if not where.is_file():
        raise BundleError(f"{folder}: expected a bundle with {MANIFEST}, found none; check the path")
    for path in (where, folder / MANIFEST_DIGEST):
        if not path.is_file() or path.is_symlink():
            raise BundleError(f"{path}: expected a plain file, found none; copy the bundle again")
        if (size := path.stat().st_size) > _LARGEST_MANIFEST:
            raise BundleError(f"{path}: expected at most {_LARGEST_MANIFEST} bytes, found {size}; "
                              "this is no manifest")
    data = where.read_bytes()
    if (folder / MANIFEST_DIGEST).read_bytes() != _digest_line(data):
        raise BundleError(f"{where}: its digest is not the one in {MANIFEST_DIGEST}: one of the two was "
                          "changed or cut short; copy the bundle again")
    return data


def _read_signers(folder: Path, manifest: bytes) -> tuple[str, ...]:
    where = folder / SIGNATURE
    if not where.exists() and not where.is_symlink():
        return ()
    if not where.is_file() or where.is_symlink() or where.stat().st_size > signature.LARGEST:
        raise BundleError(f"{where}: expected a plain file of at most {signature.LARGEST} bytes, found something else; "
                          "copy the bundle again")
    return signature.signers(where.read_bytes(), manifest, where)


def _verify_files(folder: Path, manifest: Manifest) -> None:
    listed = manifest.files
    required = {*REQUIRED, *(graph_name(modality, precision) for precision in manifest.variants
                             for modality in MODALITIES), *map(weights_name, manifest.variants)}
    for name in listed:
        if name not in required and not _VALIDATION_NAME.match(name):
            raise BundleError(f"{folder / MANIFEST}: lists {name!r}, which is no file of a bundle; "
                              "use the cmnas-edge that made it")
    if missing := sorted(required - listed.keys()):
        raise BundleError(f"{folder / MANIFEST}: expected {', '.join(missing)} to be listed; export again")
    present = _names(folder) - set(own_names())
    if extra := sorted(present - listed.keys()):
        raise BundleError(f"{folder}/{printable(extra[0])}: not part of this bundle ({len(extra)} such); remove it")
    for name, record in listed.items():
        path = folder / name
        if not path.is_file() or path.is_symlink():
            raise BundleError(f"{path}: expected a plain file, found none; copy the bundle again")
        if (size := path.stat().st_size) != record.bytes:
            raise BundleError(f"{path}: expected {record.bytes} bytes, found {size}; copy the bundle again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != record.sha256:
            raise BundleError(f"{path}: its bytes are not those that were packed; copy the bundle again")
