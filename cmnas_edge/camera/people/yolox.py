"""People by a network of YOLOX's layout (Ge et al., arXiv 2107.08430), in ONNX Runtime or on the GPU.

The graph takes one BGR picture, 0 to 255, letterboxed with grey 114 at the lower and right
edge, and gives a row per cell of three grids (strides 8, 16, 32): box, objectness, and a
score per class, of which 0 is *person* as in COCO. Boxes come as offsets in their cell
(``xy = (raw + cell) * stride``, ``wh = exp(raw) * stride``), or in pixels where the export
has that built in; a blank picture tells which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from cmnas_edge.camera.people.detection import Detections, nobody
from cmnas_edge.camera.people.geometry import suppress
from cmnas_edge.camera.people.on_gpu import on_gpu
from cmnas_edge.errors import ConfigError

__all__ = ["YoloxDetector", "grid"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

_STRIDES = (8, 16, 32)
_GREY = 114
_FATAL = 4              # ONNX Runtime's own log: its errors reach us as exceptions
_DEFAULT_SIDE = 416     # of a graph that takes any size


class YoloxDetector:
    """Finds people with the user's network; checks at opening that it has the layout."""

    def __init__(self, path: Path, *, least_score: float, most_iou: float, threads: int,
                 engine: Literal["auto", "onnxruntime", "tensorrt"] = "onnxruntime") -> None:
        """Load and probe the graph.

        Args:
            path: ONNX file.
            least_score: Objectness times class score below which nothing is reported.
            most_iou: Of two boxes that overlap more, the better stays.
            threads: CPU threads.
            engine: What runs it; see `cmnas_edge.camera.people.on_gpu`.

        Raises:
            ConfigError: No ONNX, or a graph of another layout.
            DeviceError: TensorRT is asked for and cannot be had.
        """
        self._least_score = least_score
        self._most_iou = most_iou
        self._session: Any = _session(path, threads)
        self._input, height, width = _input(path, self._session)
        self._canvas: U8 = np.full((height, width, 3), _GREY, np.uint8)
        self._blob: F32 = np.empty((1, 3, height, width), np.float32)
        self._cells, self._strides = grid(height, width)
        raw = self._run(path)
        # Cell offsets are small whatever the cell; pixels spread over the whole picture.
        self._in_pixels = bool(raw[:, :2].std(0).min() > _STRIDES[-1] / 2)
        self._session = on_gpu(path, self._session, self._input, self._blob.shape, engine,
                               lambda: _session(path, threads))

    def detect(self, frame: U8, index: int | None = None) -> Detections:  # noqa: ARG002 (each frame by itself)
        """Find people; see `Detector`."""
        scale = self._letterbox(frame)
        raw = self._run()
        scores = raw[:, 4] * raw[:, 5]
        likely = np.flatnonzero(scores >= self._least_score)
        if not len(likely):
            return nobody()
        centre, size = raw[likely, :2], raw[likely, 2:4]
        if not self._in_pixels:
            stride = self._strides[likely, None]
            centre, size = (centre + self._cells[likely]) * stride, np.exp(size) * stride
        raw_boxes = np.concatenate([centre - size / 2, centre + size / 2], 1) / scale
        limit = np.array([frame.shape[1], frame.shape[0]] * 2, np.float32)
        boxes: F32 = np.clip(raw_boxes, 0, limit).astype(np.float32)
        kept = suppress(boxes, scores[likely], self._most_iou)
        return Detections(boxes[kept], scores[likely][kept].astype(np.float32))

    def reset(self) -> None:
        """Nothing is remembered between frames."""

    def _letterbox(self, frame: U8) -> float:
        """Write a frame, scaled and padded, to the input; returns the scale."""
        height, width = self._canvas.shape[:2]
        scale = min(height / frame.shape[0], width / frame.shape[1])
        rows, columns = max(1, int(frame.shape[0] * scale)), max(1, int(frame.shape[1] * scale))
        self._canvas[:] = _GREY
        cv2.resize(frame, (columns, rows), dst=self._canvas[:rows, :columns], interpolation=cv2.INTER_LINEAR)
        self._blob[0] = self._canvas.transpose(2, 0, 1)
        return float(scale)

    def _run(self, path: Path | None = None) -> F32:
        """Run the graph on what was written; with a path, for the first time and in doubt."""
        if path is None:
            return np.asarray(self._session.run(None, {self._input: self._blob})[0][0], np.float32)
        self._blob[:] = _GREY
        try:
            outputs = self._session.run(None, {self._input: self._blob})
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            raise _layout(path, f"one that doesn't run ({type(error).__name__})") from None
        rows = len(self._cells)
        shapes = [np.shape(output) for output in outputs]
        if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][:2] != (1, rows) or shapes[0][2] < 6:
            found = " and ".join(str(shape) for shape in shapes)
            raise _layout(path, f"outputs of shape {found} where (1, {rows}, 5 + classes) belongs")
        return np.asarray(outputs[0][0], np.float32)


def grid(height: int, width: int) -> tuple[F32, F32]:
    """Cells of the three grids, in the order of the network's rows.

    Returns:
        Column and row of each cell, shape ``(n, 2)``, and its stride, shape ``(n,)``.
    """
    cells, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[:height // stride, :width // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full(x.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _session(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # the cores are shared
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        raise ConfigError(f"{path}: expected a network in ONNX, found a file that cannot be loaded as one "
                          f"({type(error).__name__}); download or export it again") from None


def _input(path: Path, session: Any) -> tuple[str, int, int]:
    """Name, rows and columns of the graph's one input."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise _layout(path, f"{len(inputs)} inputs")
    shape = inputs[0].shape
    # A free side is None or has a name.
    if inputs[0].type != "tensor(float)" or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise _layout(path, f"an input of {inputs[0].type} {shape}")
    height, width = (side if isinstance(side, int) and side > 0 else _DEFAULT_SIDE for side in shape[2:])
    if height % _STRIDES[-1] or width % _STRIDES[-1]:
        raise _layout(path, f"an input of {height}x{width}, no multiple of {_STRIDES[-1]}")
    return inputs[0].name, height, width


def _layout(path: Path, found: str) -> ConfigError:
    return ConfigError(f"{path}: expected a network of YOLOX's layout (one float input 1x3xHxW, one output of a "
                       f"row per cell), found {found}; export it as YOLOX does, or use kind = \"boxes\"")
