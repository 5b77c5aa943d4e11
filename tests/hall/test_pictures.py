"""No photograph can lie in a bundle: every picture is drawn again from its seed, and nothing hides behind one."""

from __future__ import annotations

import contextlib
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.bundle import Bundle, seal
from cmnas_edge.bundle.pictures import TOLERANCE, as_decoded, draw, jpeg, stored, verify_pictures
from cmnas_edge.cli import main
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import BundleError
from tests.tiny_bundle import redrawn_tiny, reseal


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return redrawn_tiny(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def tiny(honest: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "tiny"))


def a_jpeg(tiny: Path) -> Path:
    return min((tiny / "validation").glob("*.jpg"))


def photograph() -> bytes:
    """Another picture of the same size."""
    return jpeg(np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8))


def edit_golden(tiny: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    with np.load(tiny / "golden.npz") as found:
        arrays = dict(found)
    change(arrays)
    np.savez(tiny / "golden.npz", **arrays)


def refuse(tiny: Path, words: str) -> None:
    reseal(tiny)
    with pytest.raises(BundleError, match=words):
        verify_pictures(Bundle.open(tiny))


def test_every_picture_of_a_bundle_can_be_drawn_again(honest: Path) -> None:
    bundle = Bundle.open(honest)
    report = verify_pictures(bundle)
    assert report.picture_count == 6 + 6
    assert report.worst <= TOLERANCE


def test_strangers_differ_by_far_more_than_the_tolerance(honest: Path) -> None:
    images = draw(Bundle.open(honest).manifest.validation, 32, 16).images.astype(int)
    apart = [np.abs(a - b).mean() for i, a in enumerate(images) for b in images[:i]]
    assert min(apart) > 5 * TOLERANCE


def test_another_picture_among_the_validation_crops_is_found(tiny: Path) -> None:
    other = sorted((tiny / "validation").glob("*.jpg"))[-1]
    a_jpeg(tiny).write_bytes(min(other.read_bytes(), photograph(), key=len))
    refuse(tiny, r"validation.*\.jpg")


@pytest.mark.parametrize("changed", [{"identities": 10**9}, {"identities": 10**30}, {"first_identity": 10**30},
                                     {"cameras": [2, 0]}, {"cameras": [2, 3 * 10**30]}, {"seed": 10**40}])
@pytest.mark.parametrize("what", ["golden", "validation"])
def test_a_record_that_nobody_can_draw_is_one_sentence(
        tiny: Path, what: str, changed: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    reseal(tiny, lambda manifest: manifest[what].update(changed))
    assert main(["bundle", "verify", str(tiny)]) == 65
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("text", [b'{"crops":[]}', b"\xff", b"{}"])
def test_labels_of_nobody_are_one_sentence(tiny: Path, text: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "validation" / "labels.json").write_bytes(text)
    reseal(tiny)
    assert main(["bundle", "verify", str(tiny)]) == 65
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_drawn_crop_may_differ_by_rounding(tiny: Path) -> None:
    path = a_jpeg(tiny)
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    image[::7, ::5] ^= 1
    path.write_bytes(jpeg(image))
    reseal(tiny)
    assert 0 < verify_pictures(Bundle.open(tiny)).worst <= TOLERANCE


@pytest.mark.parametrize("hidden", [photograph(), b"\0" * 100])
def test_nothing_can_be_hidden_behind_a_validation_crop(tiny: Path, hidden: bytes) -> None:
    path = a_jpeg(tiny)
    path.write_bytes(path.read_bytes() + hidden)
    refuse(tiny, r"\.jpg: expected at most \d+ bytes for what is drawn, found")


def test_a_crop_more_or_less_is_found(honest: Path, tiny: Path) -> None:
    (tiny / "validation" / "extra.jpg").write_bytes(photograph())
    bundle = seal(tiny, Bundle.open(honest).manifest)
    with pytest.raises(BundleError, match="found others"):
        verify_pictures(bundle)


def test_labels_that_tell_something_else_are_found(tiny: Path) -> None:
    path = tiny / "validation" / "labels.json"
    found = json.loads(path.read_bytes())
    found["crops"][0]["identity"] = 12345
    path.write_text(json.dumps(found))
    refuse(tiny, "found others")


def test_crops_without_a_seed_are_found(tiny: Path) -> None:
    (tiny / "validation" / "labels.json").unlink()

    def forget(manifest: dict) -> None:
        manifest["validation"]["identities"] = 0
        del manifest["files"]["validation/labels.json"]

    reseal(tiny, forget)
    with pytest.raises(BundleError, match="expected no crops"):
        verify_pictures(Bundle.open(tiny))


@pytest.mark.parametrize("modality", MODALITIES)
def test_another_picture_among_the_golden_crops_is_found(tiny: Path, modality: str) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays[f"{modality}_crops"][1] = np.random.default_rng(1).integers(0, 256, (32, 16, 3))

    edit_golden(tiny, change)
    refuse(tiny, rf"golden\.npz: {modality} crop 1: expected the picture drawn from the recorded seed")


def test_a_golden_crop_too_many_is_found(tiny: Path) -> None:
    edit_golden(tiny, lambda arrays: arrays.update({name: np.repeat(array, 2, 0) for name, array in arrays.items()}))
    refuse(tiny, r"golden: expected a record of the 12 crops in the bundle, found others \(6\)")


def test_nothing_can_be_hidden_in_the_golden_file(tiny: Path) -> None:
    with zipfile.ZipFile(tiny / "golden.npz", "a") as file:
        file.comment = b"\0" * 5000
    refuse(tiny, r"golden\.npz: expected at most \d+ bytes")


def test_another_seed_draws_other_pictures(tiny: Path) -> None:
    reseal(tiny, lambda manifest: manifest["golden"].update(seed=6))
    with pytest.raises(BundleError, match="drawn from the recorded seed"):
        verify_pictures(Bundle.open(tiny))


def test_stored_crops_come_with_who_they_show(honest: Path) -> None:
    crops = stored(Bundle.open(honest))
    again = draw(Bundle.open(honest).manifest.validation, 32, 16)
    for name in ("identity", "camera", "infrared"):
        np.testing.assert_array_equal(getattr(crops, name), getattr(again, name))
    assert np.abs(crops.images.astype(int) - again.images.astype(int)).mean() < 8  # JPEG of tiny noisy crops


OUTSIDE = b'{"crops": [{"file": "../golden.npz", "identity": 1, "camera": 1, "modality": "visible"}]}'


@pytest.mark.parametrize(("content", "words"), [(b"[]", "row per crop"), (OUTSIDE, "not in the bundle")])
def test_labels_of_another_kind_are_refused(tiny: Path, content: bytes, words: str) -> None:
    (tiny / "validation" / "labels.json").write_bytes(content)
    reseal(tiny)
    with pytest.raises(BundleError, match=words):
        stored(Bundle.open(tiny))


CROP = jpeg(np.zeros((32, 16, 3), np.uint8))
FRAME = CROP.index(b"\xff\xc0")      # then two bytes of length, one of precision, height and width
LARGE = CROP[:FRAME + 5] + struct.pack(">HH", 30_000, 30_000) + CROP[FRAME + 9:]
# "It lies on its side", in the fewest words Exif has for it.
EXIF = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
TURNED = CROP[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(EXIF)) + EXIF + CROP[2:]


@pytest.mark.parametrize(("content", "says"), [
    (b"no picture", "expected a JPEG"), (b"", "expected a JPEG"), (CROP[:FRAME + 4], "expected a JPEG"),
    (CROP[:FRAME + 12], "expected a JPEG"),
    (jpeg(np.zeros((8, 8, 3), np.uint8)), r"expected a picture of 32 x 16 \(height x width\), found one of 8 x 8"),
    (cv2.imencode(".png", np.zeros((32, 16, 3), np.uint8))[1].tobytes(), "expected a JPEG"),
    (CROP[:FRAME] + LARGE[FRAME:FRAME + 19] + CROP[FRAME:], "found one of 30000 x 30000"),
    (CROP[:FRAME + 19] + LARGE[FRAME:FRAME + 19] + CROP[FRAME + 19:], "expected a JPEG"),     # libjpeg takes no second
    (TURNED, "found one of 16 x 32")])
def test_a_stored_crop_of_another_kind_is_refused(tiny: Path, content: bytes, says: str) -> None:
    a_jpeg(tiny).write_bytes(content)
    reseal(tiny)
    with pytest.raises(BundleError, match=f"{a_jpeg(tiny).name}: .*{says}"):
        stored(Bundle.open(tiny))


def test_a_picture_that_says_it_is_huge_is_refused_before_a_pixel_is_read(
        honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = cv2.imdecode

    def watched(data: npt.NDArray[np.uint8], flag: int) -> npt.NDArray[np.uint8]:
        assert data.tobytes() != LARGE
        return np.asarray(decode(data, flag), np.uint8)     # people are drawn with it

    path = Path(shutil.copytree(honest, tmp_path / "huge"))
    a_jpeg(path).write_bytes(LARGE)
    reseal(path)
    bundle = Bundle.open(path)
    monkeypatch.setattr(cv2, "imdecode", watched)
    for look in (stored, verify_pictures):
        with pytest.raises(BundleError, match="found one of 30000 x 30000"):
            look(bundle)


@given(st.integers(0, len(CROP) - 1), st.binary(min_size=1, max_size=8))
def test_however_a_picture_is_damaged_it_is_refused_or_of_the_right_size(place: int, damage: bytes) -> None:
    data = CROP[:place] + damage + CROP[place + len(damage):]
    with contextlib.suppress(BundleError):
        assert as_decoded(data, (32, 16), "a crop").shape == (32, 16, 3)


def test_verify_says_what_it_did_and_ends_with_0(honest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "verify", str(honest)]) == 0
    shown = capsys.readouterr().out
    for word in ("every byte as packed", "golden embeddings reproduced", "as packed", "12 drawn again", "verified"):
        assert word in shown


def test_a_smuggled_picture_ends_verify_with_exit_65(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_golden(tiny, lambda arrays: arrays["visible_crops"].__setitem__(0, 7))
    edit_golden(tiny, lambda arrays: arrays["visible_embeddings"].__setitem__(
        0, _embedding_of(tiny, arrays["visible_crops"][:1])))
    reseal(tiny)
    assert main(["bundle", "verify", str(tiny)]) == 65
    assert "drawn from the recorded seed" in capsys.readouterr().err


def _embedding_of(tiny: Path, crops: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(tiny / "visible.onnx"), providers=["CPUExecutionProvider"])
    return session.run(None, {"crops": crops})[0][0]
