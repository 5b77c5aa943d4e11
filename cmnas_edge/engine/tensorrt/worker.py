"""One thread that owns the GPU: context, engines, streams and buffers; the rest ask it by queue.

A CUDA context belongs to the thread it is current in, and an execution context of TensorRT must not be
used by two at once. With one thread for all of it neither can go wrong, whoever asks.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from cmnas_edge.engine.tensorrt.cuda import Cuda
from cmnas_edge.errors import DeviceError

__all__ = ["GpuWorker", "give_back", "take"]

T = TypeVar("T")
_Asked = tuple[Future[Any], Callable[[], Any]]
_log = logging.getLogger("cmnas.tensorrt")


class GpuWorker:
    """Does one thing after the other on the GPU, in a thread that has its context.

    Raises:
        DeviceError: The GPU gives no context.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self._queue: SimpleQueue[_Asked | None] = SimpleQueue()
        # A daemon, so that what nobody closed can still be closed, in this thread, when the process ends.
        self._thread = threading.Thread(target=_serve, args=(self._queue,), name="gpu worker", daemon=True)
        self._thread.start()
        self._open = True
        try:
            self(cuda.enter)
        except Exception as error:  # pycuda's errors are RuntimeErrors, of several kinds
            self._end()
            raise DeviceError(f"GPU: expected a context of its own, found {type(error).__name__} ({error}); free its "
                              "memory, or look at dmesg") from error

    def __call__(self, work: Callable[[], T]) -> T:
        """Have something done by the worker, and wait for it; its errors come out here."""
        if threading.current_thread() is self._thread:  # what is collected as garbage may be so anywhere
            return work()
        return self.begin(work).result()

    def begin(self, work: Callable[[], T]) -> Future[T]:
        """Have something done by the worker, and do not wait.

        Raises:
            ValueError: It is closed.
        """
        if not self._open:
            raise ValueError("expected an open GPU worker, found it closed")
        done: Future[T] = Future()
        self._queue.put((done, work))
        return done

    def close(self) -> None:
        """Leave the context and end the thread, after what was asked before; again is harmless."""
        if self._open:
            try:
                self(self.cuda.leave)
            except Exception as error:  # pycuda's errors are RuntimeErrors of several kinds
                _log.warning("the GPU's context could not be left: %s", str(error))
            finally:
                self._end()

    def _end(self) -> None:
        self._open = False
        self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()


def _serve(queue: SimpleQueue[_Asked | None]) -> None:
    while (asked := queue.get()) is not None:
        done, work = asked
        try:
            done.set_result(_cleanly(work))
        except BaseException as error:
            done.set_exception(error)
        del asked, done, work   # an error's traceback has this frame, and must not hold what holds the error


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


_mutex = threading.RLock()  # garbage may be collected, and given back, while it is held
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
            try:
                cuda = make()
            except Exception as error:  # pycuda's errors are RuntimeErrors of several kinds
                raise DeviceError(f"GPU: expected one that answers, found {type(error).__name__} ({error}); look at "
                                  "nvidia-smi or dmesg") from error
            _shared = GpuWorker(cuda)
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
