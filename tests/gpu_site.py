"""A device with a GPU and a TensorRT of our own , a bundle and a cache."""

from __future__ import annotations

from pathlib import Path

from cmnas_edge.bundle import Bundle
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace
from cmnas_edge.engine.tensorrt.build import How, bundle_job
from cmnas_edge.engine.tensorrt.device import Gpu
from tests.fake_gpu import ORIN, FakeCuda
from tests.fake_tensorrt import FakeTensorRt
from tests.tiny_bundle import TINY

HOW = How(usual_batch=2, most_batch=7)


class Site:
    """A device with a bundle and a cache."""

    def __init__(self, folder: Path, gpu: Gpu = ORIN, version: str = "10.3.0") -> None:
        self.bundle = Bundle.open(TINY)
        self.cache = folder / "cache"
        self.cuda = FakeCuda(gpu)
        self.trt = FakeTensorRt(self.cuda, version)
        self.place = Workplace(self.cuda, self.trt)

    def build(self, modality: str = "visible", *, again: bool = False, how: How = HOW) -> Path:
        return self.place.build(bundle_job(self.bundle, modality, "fp32"), how, self.cache, again=again)[0]

    def open(self, modality: str = "visible", max_batch: int = 32) -> TensorRtEngine:
        return TensorRtEngine(self.bundle, modality, precision="fp32", max_batch=max_batch, cache=self.cache,
                              workplace=self.place)
