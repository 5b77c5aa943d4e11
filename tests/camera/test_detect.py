"""Detectors that read: a network of YOLOX's layout, and boxes from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmnas_edge.camera.frames.footage import video
from cmnas_edge.camera.people.boxes import BoxesDetector
from cmnas_edge.camera.people.detect import open_detector
from cmnas_edge.camera.people.detection import Detections, Detector
from cmnas_edge.camera.people.geometry import iou
from cmnas_edge.camera.people.yolox import YoloxDetector, grid
from cmnas_edge.camera.settings import DetectorSettings
from cmnas_edge.errors import ConfigError
from tests.shared import SHARED, needs_shared

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
YOLOX = SHARED / "data/yolox_nano_416.onnx"
BLANK = np.zeros((120, 160, 3), np.uint8)


# --- YOLOX ---

def graph(path: Path, *, outputs: int = 1, rows: int = 84, columns: int = 85, shape: Any = (1, 3, 64, 64),
          inputs: int = 1, kind: str = "FLOAT") -> Path:
    """Write a graph that gives zeros of some shape; 64x64 has 84 cells."""
    onnx = pytest.importorskip("onnx")
    take = [onnx.helper.make_tensor_value_info(f"in{k}", getattr(onnx.TensorProto, kind), shape) for k in range(inputs)]
    give = [onnx.helper.make_tensor_value_info(f"out{k}", onnx.TensorProto.FLOAT, None) for k in range(outputs)]
    zero = onnx.numpy_helper.from_array(np.zeros((1, rows, columns), np.float32), "zero")
    nodes = [onnx.helper.make_node("Identity", ["zero"], [f"out{k}"]) for k in range(outputs)]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", take, give, [zero]), ir_version=8,
                                   opset_imports=[onnx.helper.make_opsetid("", 15)])
    onnx.save(model, str(path))
    return path


def yolox(path: Path, **more: Any) -> Detector:
    return open_detector(DetectorSettings(kind="onnx", path=path, **more))


class Replay:
    """In place of a session: gives what the test wrote."""

    def __init__(self, raw: F32) -> None:
        self.raw = raw
        self.blob: F32 | None = None

    def run(self, names: object, feeds: dict[str, F32]) -> list[F32]:
        self.blob = next(iter(feeds.values())).copy()
        return [self.raw[None]]


def test_cells_come_stride_by_stride_and_row_by_row() -> None:
    cells, strides = grid(64, 96)
    assert len(cells) == 8 * 12 + 4 * 6 + 2 * 3
    assert cells[:13].tolist() == [[x, 0] for x in range(12)] + [[0, 1]]
    assert strides[[0, 95, 96, 119, 120, 125]].tolist() == [8, 8, 16, 16, 32, 32]


@given(st.integers(20, 700), st.integers(20, 900), st.lists(
    st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9), st.floats(0.05, 0.4), st.floats(0.1, 0.5)), max_size=4))
def test_a_box_that_a_network_would_write_is_read_back(rows: int, columns: int,
                                                       wanted: list[tuple[float, float, float, float]]) -> None:
    detector = YoloxDetector.__new__(YoloxDetector)  # its decoding alone, without a graph
    detector._least_score, detector._most_iou, detector._input = 0.3, 0.99, "in"
    detector._canvas, detector._blob = np.zeros((416, 416, 3), np.uint8), np.empty((1, 3, 416, 416), np.float32)
    detector._cells, detector._strides = grid(416, 416)
    detector._in_pixels = False
    scale = min(416 / rows, 416 / columns)
    raw = np.full((len(detector._cells), 85), 0.01, np.float32)
    boxes = []
    for number, (x, y, w, h) in enumerate(wanted):
        row = 700 * number + 11  # any cell may write any box
        size = np.array([w * columns, h * rows])
        centre = np.clip(np.array([x * columns, y * rows]), size / 2, np.array([columns, rows]) - size / 2)
        stride = detector._strides[row]
        raw[row, :2] = centre * scale / stride - detector._cells[row]
        raw[row, 2:4] = np.log(size * scale / stride)
        raw[row, 4:6] = 0.9, 1 - number / 10
        boxes.append([*(centre - size / 2), *(centre + size / 2)])
    detector._session = Replay(raw)
    found = detector.detect(np.zeros((rows, columns, 3), np.uint8))
    expected = np.array(boxes, np.float32).reshape(-1, 4)
    kept = [k for k in range(len(expected)) if not (iou(expected[k:k + 1], expected[:k]) > 0.98).any()]
    if len(kept) == len(expected):
        np.testing.assert_allclose(found.boxes, expected, atol=0.05)
        np.testing.assert_allclose(found.scores, [0.9 * (1 - k / 10) for k in range(len(expected))], rtol=1e-5)


@needs_shared("data/yolox_nano_416.onnx")
def test_a_frame_is_letterboxed_at_the_lower_right_with_grey() -> None:
    detector = YoloxDetector(YOLOX, least_score=0.3, most_iou=0.45, threads=1)
    session = Replay(np.zeros((3549, 85), np.float32))
    detector._session = session
    detector.detect(np.full((100, 100, 3), 7, np.uint8))
    assert session.blob is not None
    assert (session.blob == 7).all()
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[:] = (10, 20, 30)
    detector.detect(frame)
    assert session.blob[0, :, 0, 0].tolist() == [10, 20, 30]  # BGR, 0 to 255
    assert session.blob[0, :, 207, 415].tolist() == [10, 20, 30]
    assert (session.blob[0, :, 208:] == 114).all()


@needs_shared("data/yolox_nano_416.onnx", "data/vtest.avi")
def test_the_real_network_finds_the_three_pedestrians_of_a_real_frame() -> None:
    frame = next(video(SHARED / "data/vtest.avi").pictures())
    found = yolox(YOLOX, score=0.6).detect(frame)
    # Read off the picture by eye, to about five pixels.
    people = np.array([[159, 138, 177, 193], [314, 98, 333, 144], [402, 151, 428, 203]], np.float32)
    overlap = iou(people, found.boxes)
    assert (overlap.max(1) > 0.6).all()
    assert len(found.boxes) == 3


@needs_shared("data/yolox_nano_416.onnx", "data/vtest.avi")
def test_an_export_that_decodes_by_itself_gives_the_same_boxes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(YOLOX))
    cells, strides = grid(416, 416)
    add, make = onnx.numpy_helper.from_array, onnx.helper.make_node
    old = model.graph.output[0].name
    model.graph.initializer.extend([add(cells[None], "cells"), add(strides[None, :, None], "strides")])
    if model.opset_import[0].version < 13:
        split = make("Split", [old], ["xy", "wh", "rest"], axis=2, split=[2, 2, 81])
    else:
        model.graph.initializer.append(add(np.array([2, 2, 81], np.int64), "parts"))
        split = make("Split", [old, "parts"], ["xy", "wh", "rest"], axis=2)
    model.graph.node.extend([
        split, make("Add", ["xy", "cells"], ["at"]),
        make("Mul", ["at", "strides"], ["centre"]), make("Exp", ["wh"], ["grown"]),
        make("Mul", ["grown", "strides"], ["size"]), make("Concat", ["centre", "size", "rest"], ["decoded"], axis=2)])
    model.graph.output[0].name = "decoded"
    onnx.save(model, str(tmp_path / "decoded.onnx"))
    frame = next(video(SHARED / "data/vtest.avi").pictures())
    one, other = yolox(YOLOX).detect(frame), yolox(tmp_path / "decoded.onnx").detect(frame)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
    assert len(one.boxes) >= 3


@pytest.mark.parametrize(("shape", "words"), [
    ({"outputs": 2}, r"outputs of shape \(1, 84, 85\) and \(1, 84, 85\)"),
    ({"rows": 83}, r"where \(1, 84, 5 \+ classes\) belongs"),
    ({"columns": 5}, r"outputs of shape \(1, 84, 5\)"),
    ({"shape": (1, 3, 60, 64)}, "no multiple of 32"),
    ({"shape": (1, 1, 64, 64)}, "an input of"),
    ({"shape": (1, 3)}, "an input of"),
    ({"inputs": 2}, "2 inputs"),
    ({"kind": "UINT8"}, r"tensor\(uint8\)"),
])
def test_a_graph_of_another_layout_is_refused_with_what_was_found(shape: dict[str, Any], words: str,
                                                                  tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        yolox(graph(tmp_path / "other.onnx", **shape))
    assert "YOLOX's layout" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_graph_of_the_layout_is_taken(tmp_path: Path) -> None:
    assert len(yolox(graph(tmp_path / "same.onnx")).detect(BLANK).boxes) == 0


def test_a_file_that_is_no_network_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match="expected a network in ONNX"):
        yolox(tmp_path / "x.onnx")
    assert capfd.readouterr() == ("", "")


# --- boxes ---

def lines(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_each_frame_gets_the_boxes_of_its_lines(tmp_path: Path) -> None:
    path = lines(tmp_path / "boxes.jsonl", {"frame": 1, "box": [1, 2, 3, 4], "score": 0.5}, "",
                 {"frame": 3, "boxes": [[0, 0, 5, 9], [10, 0, 15, 9]], "scores": [0.9, 0.05]},
                 {"frame": 1, "box": [5, 6, 7, 8], "identity": 12})
    detector = open_detector(DetectorSettings(kind="boxes", path=path, score=0.1))
    found = [detector.detect(BLANK) for _ in range(5)]
    assert [len(one.boxes) for one in found] == [0, 2, 0, 1, 0]
    assert found[1].boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found[1].scores.tolist() == [0.5, 1.0]
    assert found[3].boxes.dtype == np.float32


def test_a_frames_own_number_counts_when_frames_were_left_out(tmp_path: Path) -> None:
    path = lines(tmp_path / "b", {"frame": 7, "box": [0, 0, 1, 1]}, {"frame": 8, "box": [0, 0, 2, 2]})
    detector = BoxesDetector(path)
    assert len(detector.detect(BLANK, 6).boxes) == 0
    assert detector.detect(BLANK, 8).boxes.tolist() == [[0, 0, 2, 2]]
    detector.reset()  # a change of spectrum does not wind the file back
    assert detector.detect(BLANK, 7).boxes.tolist() == [[0, 0, 1, 1]]
    assert detector.detect(BLANK).boxes.tolist() == [[0, 0, 2, 2]]


def test_a_file_about_several_cameras_is_read_for_one(tmp_path: Path) -> None:
    path = lines(tmp_path / "truth.jsonl", {"frame": 0, "camera": "hall", "box": [0, 0, 1, 1]},
                 {"frame": 0, "camera": "yard", "box": [0, 0, 2, 2]}, {"frame": 0, "camera": 3, "box": [0, 0, 3, 3]})
    for camera, size in (("hall", 1), ("yard", 2), ("3", 3)):
        found = open_detector(DetectorSettings(kind="boxes", path=path, camera=camera)).detect(BLANK)
        assert found.boxes.tolist() == [[0, 0, size, size]]


@pytest.mark.parametrize("bad", [
    "{", "[]", '{"frame": -1, "box": [0, 0, 1, 1]}', '{"frame": 0}', '{"frame": 0, "box": [0, 0, 1]}',
    '{"frame": 0, "box": [0, 0, 1, "x"]}', '{"frame": 0, "box": [0, 0, 1, NaN]}',
    '{"frame": 0, "box": [0, 0, 1, 1e999]}',
    '{"frame": 0, "box": [0, 0, 1, 1], "score": 2}', '{"frame": 0, "boxes": [[0, 0, 1, 1]], "scores": []}',
    '{"frame": 0, "box": [0, 0, 1, 1], "boxes": []}', "\x00", '{"frame": 0, "box": [0, 0, 1, 1e300]}',
])
def test_a_bad_line_is_named(bad: str, tmp_path: Path) -> None:
    path = lines(tmp_path / "boxes.jsonl", {"frame": 0, "box": [0, 0, 1, 1]}, bad)
    with pytest.raises(ConfigError, match=r"boxes\.jsonl: line 2: expected") as refusal:
        BoxesDetector(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["onnx", "boxes"])
def test_a_detectors_missing_file_is_said(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected 'path'"):
        open_detector(DetectorSettings(kind=kind))
    with pytest.raises(ConfigError, match="found none; name one that exists"):
        open_detector(DetectorSettings(kind=kind, path=tmp_path / "none"))


def test_an_empty_frames_detections_have_the_shape_of_others(tmp_path: Path) -> None:
    empty: Detections = BoxesDetector(lines(tmp_path / "b", "")).detect(BLANK)
    assert empty.boxes.shape == (0, 4)
    assert empty.scores.shape == (0,)
