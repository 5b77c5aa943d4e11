"""A relay that counts every byte cameras send, and every byte it can explain.

The claim *only embeddings leave* is measured, not asserted: cameras talk to the collector
through this relay. Bytes are counted where they are read from the socket. What was sent is
then decoded as HTTP and, inside it, field by field as sightings; ``pixel_bytes`` is what is
left over. A picture hidden in an unknown field, an overlong string, a header or behind the
last request stays unexplained, and shows.

What no count can show is a picture encoded *as* the numbers of a vector: vector bytes are
bytes. That residual channel has a known width, the length of a packed embedding per sighting.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from types import TracebackType

from cmnas_edge import wire

__all__ = ["Tap", "explained"]

_REQUEST = re.compile(rb"POST /v1/sightings HTTP/1\.1")
# Header values a daemon has reason to send, each with the only form that explains it.
_HEADERS = {
    b"host": re.compile(rb"[\w.\-\[\]:]{1,80}"),
    b"accept-encoding": re.compile(rb"identity"),
    b"content-length": re.compile(rb"\d{1,7}"),
    b"content-type": re.compile(rb"application/x-protobuf"),
    b"authorization": re.compile(rb"Bearer [\w\-]{20,64}"),
    b"user-agent": re.compile(rb"cmnas-edge/[\w.]{1,16}"),
    b"connection": re.compile(rb"keep-alive|close"),
}


def explained(stream: bytes) -> int:
    """Count the bytes of one connection's requests that are accounted for.

    Args:
        stream: All bytes a camera sent over one connection.

    Returns:
        At most ``len(stream)``; the difference is unexplained.
    """
    total, at = 0, 0
    while at < len(stream):
        end = stream.find(b"\r\n\r\n", at)
        if end < 0:
            break
        first, *lines = stream[at:end].split(b"\r\n")
        total += 4 + 2 * len(lines)  # line ends and the blank line
        total += len(first) if _REQUEST.fullmatch(first) else 0
        length, seen = 0, set()
        for line in lines:
            name, _, value = line.partition(b": ")
            known = _HEADERS.get(name.lower())
            if known and known.fullmatch(value) and name.lower() not in seen:
                total += len(line)
                length = int(value) if name.lower() == b"content-length" else length
            seen.add(name.lower())
        body = stream[end + 4:end + 4 + length]
        total += wire.explained_bytes(body)
        at = end + 4 + length
    return total


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
