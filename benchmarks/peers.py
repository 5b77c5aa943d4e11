"""Whom we are compared with: torchreid's own OSNet in PyTorch, and the same exported to ONNX Runtime, OpenVINO, ncnn.

torchreid's network (its ``osnet.py``, which needs nothing but PyTorch) comes from the package index, a version and
digest that are written down here, and is kept with its exports in the cache. Weights are random, but none is zero as
those of a network that was never trained are: libraries leave out what adds nothing, which is 1.2 times as fast.
Each peer is used as its documentation shows first, with the options it has by default, the preprocessing that goes
with it, and a network of the same width for crops of the same size.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.engine.tensorrt.cache import cache_folder
from cmnas_edge.preprocess import MEAN, STD

__all__ = ["PEERS", "Network", "as_if_trained", "load", "prepare", "preprocess", "version_of"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Network = Callable[[F32], F32]
PEERS = ("torchreid in PyTorch", "ONNX Runtime", "OpenVINO", "ncnn")
_TORCHREID = "0.2.5"
_SHA256 = "c7c1c29187d6330f859c91da229271531920464c7011aec13842a086b2263cae"  # of its osnet.py
_EXPORT = 2     # counted up when what is exported changes
_PACKAGES = {"torchreid in PyTorch": "torch", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino", "ncnn": "ncnn"}
_MEAN, _STD = np.array(MEAN, np.float32), np.array(STD, np.float32)


def version_of(peer: str) -> str:
    """The version of what runs a peer."""
    from importlib.metadata import version  # noqa: PLC0415

    return version(_PACKAGES[peer])


def preprocess(frame: U8, boxes: F32, height: int, width: int) -> F32:
    """What such networks are usually fed with: each crop resized, RGB, scaled, normalised, channels first.

    Args:
        frame: BGR, ``(h, w, 3)``.
        boxes: ``x1, y1, x2, y2``, ``(n, 4)``.
        height: Of a crop.
        width: Of a crop.

    Returns:
        Shape ``(n, 3, height, width)``.
    """
    batch = []
    for x1, y1, x2, y2 in boxes.astype(int):
        crop = cv2.cvtColor(cv2.resize(frame[y1:y2, x1:x2], (width, height)), cv2.COLOR_BGR2RGB)
        batch.append(((crop.astype(np.float32) / 255 - _MEAN) / _STD).transpose(2, 0, 1))
    return np.stack(batch)


def prepare(backbone: str, height: int, width: int) -> tuple[Path, dict[str, str]]:
    """Fetch torchreid's network and export it, once.

    Returns:
        The folder of exports, and for each peer that is missing why.
    """
    folder = cache_folder() / "benchmarks" / f"torchreid-{_TORCHREID}-{_EXPORT}" / f"{backbone}-{height}x{width}"
    folder.mkdir(parents=True, exist_ok=True)
    lacks = {peer: f"the package {name} is not installed" for peer, name in _PACKAGES.items()
             if importlib.util.find_spec(name) is None}
    source = folder.parent / "osnet.py"
    if not source.is_file() and (reason := _fetch(source)):
        return folder, dict.fromkeys(PEERS, reason)
    if not (folder / "osnet.onnx").is_file():
        _to_onnx(folder, source, backbone, height, width)
    if "ncnn" not in lacks and not (folder / "osnet.bin").is_file() and (
            reason := _to_ncnn(folder, source, backbone, height, width)):
        lacks["ncnn"] = reason
    return folder, lacks


def _fetch(target: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        words = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, f"torchreid=={_TORCHREID}"]
        ran = subprocess.run([sys.executable, "-m", "pip", "download", *words], capture_output=True, check=False)
        archives = list(Path(folder).glob("torchreid-*.tar.gz"))
        if ran.returncode or not archives:
            return f"the package index gave no torchreid {_TORCHREID}"
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile(f"torchreid-{_TORCHREID}/torchreid/reid/models/osnet.py")
            assert member is not None
            data = member.read()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        return f"torchreid {_TORCHREID} is not the one it was"
    target.write_bytes(data)
    return ""


def _torchreid(source: Path, backbone: str) -> Any:
    spec = importlib.util.spec_from_file_location("torchreid_osnet", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = getattr(module, backbone)(num_classes=1, pretrained=False, loss="softmax").eval()
    return as_if_trained(network)


def as_if_trained(network: Any) -> Any:
    """Give norms statistics and layers biases, which begin as ones and zeros."""
    import torch  # noqa: PLC0415

    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in (*network.named_parameters(), *network.named_buffers()):
            if name.endswith((".bias", ".running_mean")):
                values.normal_(0, 0.1, generator=draw)
            elif name.endswith(".running_var") or (name.endswith(".weight") and values.ndim == 1):
                values.uniform_(0.5, 1.5, generator=draw)
    return network


def _to_onnx(folder: Path, source: Path, backbone: str, height: int, width: int) -> None:
    import torch  # noqa: PLC0415

    axes = {"images": {0: "n"}, "features": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")     # of an exporter that torchreid's own script uses
        torch.onnx.export(_torchreid(source, backbone), (torch.rand(2, 3, height, width),), str(folder / "part"),
                          dynamo=False, input_names=["images"], output_names=["features"], dynamic_axes=axes)
    (folder / "part").replace(folder / "osnet.onnx")


def _to_ncnn(folder: Path, source: Path, backbone: str, height: int, width: int) -> str:
    """Convert by way of TorchScript; its own program does it."""
    if (found := importlib.util.find_spec("pnnx")) is None or not found.submodule_search_locations:
        return "the package pnnx, which converts to it, is not installed"
    import torch  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            _torchreid(source, backbone), torch.rand(1, 3, height, width))
    traced.save(str(folder / "osnet.pt"))
    ran = subprocess.run([str(Path(found.submodule_search_locations[0]) / "pnnx"), "osnet.pt",
                          f"inputshape=[1,3,{height},{width}]f32", "ncnnparam=osnet.param", "ncnnbin=part", "fp16=0"],
                         capture_output=True, text=True, check=False, cwd=folder)
    if ran.returncode or not (folder / "part").is_file():
        return "its converter pnnx failed"
    (folder / "part").replace(folder / "osnet.bin")
    return ""


def load(peer: str, folder: Path, backbone: str, cores: int) -> Network:
    """Make a peer's network runnable in this process."""
    return {"torchreid in PyTorch": _pytorch, "ONNX Runtime": _onnxruntime, "OpenVINO": _openvino,
            "ncnn": _ncnn}[peer](folder, backbone, cores)


def _pytorch(folder: Path, backbone: str, cores: int) -> Network:
    import torch  # noqa: PLC0415

    torch.set_num_threads(cores)
    network = _torchreid(folder.parent / "osnet.py", backbone)

    def run(images: F32) -> F32:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(images)).numpy())
    return run


def _onnxruntime(folder: Path, _: str, cores: int) -> Network:
    """All by default but the count of threads: left to itself it binds one to every core, whatever it may use."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    session = onnxruntime.InferenceSession(str(folder / "osnet.onnx"), options)
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def _openvino(folder: Path, _: str, __: int) -> Network:
    """As its own examples do for a batch that is known: one graph of that very shape, all else by default.

    By default it computes in bfloat16 wherever the processor can, whatever that does to embeddings.
    """
    from cmnas_edge.engine.openvino import library  # noqa: PLC0415 - imports it without its telemetry

    core = library().Core()
    compiled: dict[int, Any] = {}

    def run(images: F32) -> F32:
        if len(images) not in compiled:
            model = core.read_model(str(folder / "osnet.onnx"))
            model.reshape(list(images.shape))
            compiled[len(images)] = core.compile_model(model, "CPU")
        return np.asarray(compiled[len(images)](images)[0])
    return run


def _ncnn(folder: Path, _: str, cores: int) -> Network:
    """A crop at a time, since ncnn knows no batches."""
    import ncnn  # noqa: PLC0415

    network = ncnn.Net()
    network.opt.num_threads = cores
    network.load_param(str(folder / "osnet.param"))
    network.load_model(str(folder / "osnet.bin"))

    def run(images: F32) -> F32:
        rows = []
        for image in images:
            extractor = network.create_extractor()
            extractor.input("in0", ncnn.Mat(np.ascontiguousarray(image)))
            rows.append(np.array(extractor.extract("out0")[1]).ravel())
        return np.stack(rows)
    return run
