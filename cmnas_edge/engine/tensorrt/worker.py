"""One thread that owns the GPU: context, engines, streams and buffers; the rest ask it by queue.

A CUDA context belongs to the thread it is current in, and an execution context of TensorRT must not be
used by two at once. With one thread for all of it neither can go wrong, whoever asks.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cmnas_edge.engine.tensorrt.cuda import Cuda
from cmnas_edge.errors import DeviceError

__all__ = ["GpuWorker", "give_back", "take"]

T = TypeVar("T")
_log = logging.getLogger("cmnas.tensorrt")


class GpuWorker:
    """Does one thing after the other on the GPU, in a thread that has its context.

    Raises:
        DeviceError: The GPU gives no context.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gpu worker")
        self._open = True
        try:
            self(cuda.enter)
        except Exception as error:  # pycuda's errors are RuntimeErrors, of several kinds
            self._thread.shutdown()
            raise DeviceError(f"GPU: expected a context of its own, found {type(error).__name__} ({error}); free its "
                              "memory, or look at dmesg") from error

    def __call__(self, work: Callable[[], T]) -> T:
        """Have something done by the worker, and wait for it; its errors come out here."""
        return self.begin(work).result()

    def begin(self, work: Callable[[], T]) -> Future[T]:
        """Have something done by the worker, and do not wait."""
        return self._thread.submit(_cleanly, work)

    def close(self) -> None:
        """Leave the context and end the thread, after what was asked before; again is harmless."""
        if self._open:
            self._open = False
            try:
                self(self.cuda.leave)
            except Exception as error:  # pycuda's errors are RuntimeErrors of several kinds
                _log.warning("the GPU's context could not be left: %s", error)
            finally:
                self._thread.shutdown()


def _cleanly(work: Callable[[], T]) -> T:
    """An error's traceback would keep what its frames hold, which has to end in this thread, in its context."""
    try:
        return work()
    except BaseException as error:
        one: BaseException | None = error
        while one is not None:  # and what caused it has a traceback of its own
            traceback.clear_frames(one.__traceback__)
            one = one.__cause__ or one.__context__
        raise


_mutex = threading.Lock()
_shared: GpuWorker | None = None
_user_count = 0


def take(make: Callable[[], Cuda]) -> GpuWorker:
    """The one worker of this process, made for the first who asks; each gives it back.

    Raises:
        DeviceError: The GPU gives no context.
    """
    global _shared, _user_count  # noqa: PLW0603 - there is one GPU, and one worker for it
    with _mutex:
        if _shared is None:
            _shared = GpuWorker(make())
        _user_count += 1
        return _shared


def give_back() -> None:
    """Give the shared worker back; the last one ends it."""
    global _shared, _user_count  # noqa: PLW0603
    with _mutex:
        _user_count -= 1
        if _user_count == 0 and _shared is not None:
            worker, _shared = _shared, None
            worker.close()
