"""An engine that fails gives way to ONNX Runtime in float32, once, and says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType

import numpy as np
import numpy.typing as npt

from cmnas_edge.bundle import Bundle
from cmnas_edge.embedding import Modality
from cmnas_edge.engine import Engine, open_engine
from cmnas_edge.errors import CmnasError, DeviceError
from cmnas_edge.sighting import EngineName, Precision

__all__ = ["WithFallback", "with_fallback"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
_log = logging.getLogger("cmnas.engine")


class WithFallback:
    """An `Engine` that goes on with another from the batch it failed at, so that no crop is lost to one that fails.

    One that hangs fails nobody: the daemon is then fed no longer, and its watchdog starts it again. Its name and
    precision are always those of whoever made the last embeddings, so each sighting tells. It does not go back: what
    failed once would fail in the night. A restart tries again.

    Args:
        engine: Serves as long as it can.
        spare: Opens what serves after that; it proves itself before it does.
        what: Of whom it is, for the log: a modality.
    """

    def __init__(self, engine: Engine, spare: Callable[[], Engine], what: str) -> None:
        self._engine = engine
        self._spare: Callable[[], Engine] | None = spare
        self._what = what
        self._ended: str | None = None      # with what, once nothing is left that could serve

    @property
    def name(self) -> EngineName:
        """What runs the graph now."""
        return self._engine.name

    @property
    def precision(self) -> Precision:
        """Arithmetic it runs in now."""
        return self._engine.precision

    @property
    def max_batch(self) -> int:
        """Most crops that go through the graph at once now."""
        return self._engine.max_batch

    def embed(self, crops: U8) -> F32:
        """Embed crops ``(n, h, w, 3)`` to ``(n, d)``; see `cmnas_edge.engine.Engine`.

        Raises:
            DeviceError: The spare cannot be opened either, now or at an earlier call, or failed too.
        """
        if self._ended is not None:
            raise DeviceError(self._ended)
        try:
            return self._engine.embed(crops)
        except DeviceError as error:
            if self._spare is None:
                raise
            failed = f"{self._engine.name} in {self._engine.precision}"
            self._engine.close()
            try:
                self._engine, self._spare = self._spare(), None
            except CmnasError as other:
                # Whatever the spare lacks, it is this that ended, and a restart may mend.
                self._ended = f"{error} (and what would go on from here cannot be opened: {other})"
                raise DeviceError(self._ended) from error
            _log.error("%s: %s failed (%s); %s in %s goes on from here. A restart tries again", self._what, failed,
                       str(error), self._engine.name, self._engine.precision)
        return self._engine.embed(crops)

    def close(self) -> None:
        """Free the graph; again is harmless."""
        self._engine.close()

    def __enter__(self) -> WithFallback:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def with_fallback(engine: Engine, bundle: Bundle, modality: Modality, *, threads: int, max_batch: int) -> Engine:
    """Give an engine ONNX Runtime in float32 as its spare; ONNX Runtime itself needs none."""
    if engine.name == "onnxruntime":
        return engine
    return WithFallback(engine, lambda: open_engine(bundle, modality, threads=threads, max_batch=max_batch), modality)
