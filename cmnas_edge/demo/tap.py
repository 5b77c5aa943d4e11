"""A relay that counts every byte cameras send, and every byte it can explain.

The claim *only embeddings leave* is measured, not asserted: cameras talk to the collector
through this relay. Bytes are counted where they are read from the socket. What was sent is
then decoded (`cmnas_edge.outgoing`); ``pixel_bytes`` is what is left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

from cmnas_edge.outgoing.http import explained

__all__ = ["Tap"]


class Tap:
    """A loopback relay to the collector, run in a thread of its own.

    Args:
        target: Host and port of the collector.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._streams: list[bytearray] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tap", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Tap:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def port(self) -> int:
        """The loopback port cameras connect to."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def sent_bytes(self) -> int:
        """Bytes read from cameras' sockets so far."""
        return sum(map(len, list(self._streams)))

    @property
    def pixel_bytes(self) -> int:
        """Bytes sent that no field of the protocol explains."""
        return self.sent_bytes - sum(explained(bytes(stream)) for stream in list(self._streams))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self._ready.set()
        self._loop.run_forever()
        self._server.close()
        waiting = asyncio.all_tasks(self._loop)
        for task in waiting:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        self._loop.close()

    async def _relay(self, camera: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        stream = bytearray()
        self._streams.append(stream)
        try:
            answers, requests = await asyncio.open_connection(*self._target)
        except OSError:
            back.close()
            return
        try:
            await asyncio.gather(_pump(camera, requests, stream.extend), _pump(answers, back, None))
        finally:
            requests.close()
            back.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter,
                note: Callable[[bytes], None] | None) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(65536):
            if note:
                note(chunk)
            sink.write(chunk)
            await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        sink.write_eof()
