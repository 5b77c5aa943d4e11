"""A world for the daemon: scripted frames, an engine that looks at colours, a collector that can fail."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmnas_edge import wire
from cmnas_edge.camera.frames.frame import Frame
from cmnas_edge.camera.sending.transport import Reply
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.errors import LinkDown
from cmnas_edge.outgoing.batch import explained
from cmnas_edge.sealing import Opener
from cmnas_edge.wire import Gap, Outcome, Sighting

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

HEIGHT, WIDTH, DIMENSION = 32, 16, 16
FINGERPRINT = bytes(range(32))
FRAME_HEIGHT, FRAME_WIDTH = 120, 160
START = 1_700_000_000.0
FPS = 10.0
VISIBLE, INFRARED = (40, 90, 200), (120, 120, 120)   # clothes, BGR


def walk(count: int) -> list[tuple[float, float, float, float]]:
    """A person's box in each of so many frames, from left to right and back."""
    return [(20 + x, 30, 44 + x, 100) for x in (30 + 25 * np.sin(np.arange(count) / 15)).tolist()]


def film(count: int, clothes: tuple[int, int, int] = VISIBLE, *, people: bool = True) -> Iterator[U8]:
    """Pictures of a person, in colour or grey, textured so that they count as sharp."""
    rng = np.random.default_rng(0)
    grey = rng.integers(60, 200, (FRAME_HEIGHT, FRAME_WIDTH, 1)).astype(np.float32)
    colour = np.array([0.6, 1.0, 1.3] if clothes != INFRARED else [1.0, 1.0, 1.0], np.float32)
    scene = np.clip(grey * colour, 0, 255).astype(np.uint8)
    pattern = rng.integers(-40, 40, (70, 24, 1))
    for box in walk(count):
        picture = scene.copy()
        if people:
            x, y = round(box[0]), round(box[1])
            picture[y:y + 70, x:x + 24] = np.clip(np.array(clothes) + pattern, 0, 255)
        yield picture


def write_boxes(path: Path, count: int, first: int = 0) -> Path:
    """What a perfect detector would say of `film`."""
    path.write_text("".join(json.dumps({"frame": first + row, "box": box, "score": 0.9}) + "\n"
                            for row, box in enumerate(walk(count))))
    return path


class Clip:
    """A source of scripted pictures; a live one can be lost after the last, or go on for ever."""

    def __init__(self, pictures: Iterable[U8], *, recorded: bool = True, start: float = START,
                 then: Callable[[Clip], object] | None = None) -> None:
        """Prepare.

        Args:
            pictures: BGR.
            recorded: As of a source.
            start: When the first was taken.
            then: Called with this clip when there are no more; may raise or wait.
        """
        self.recorded = recorded
        self.fps: float | None = None
        self.dropped_count = 0
        self._pictures = iter(pictures)
        self._start = start
        self._then = then
        self._index = -1
        self.closed = threading.Event()
        self.on_enter: Callable[[], None] = lambda: None

    def __enter__(self) -> Clip:
        self.on_enter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Clip:
        return self

    def __next__(self) -> Frame:
        if self.closed.is_set():
            raise StopIteration
        picture = next(self._pictures, None)
        if picture is None:
            if self._then is not None:
                self._then(self)
            raise StopIteration
        self._index += 1
        return Frame(picture, self._index, self._start + self._index / FPS, time.monotonic())

    def close(self) -> None:
        """End."""
        self.closed.set()


class Projector:
    """Opens clips: each location has a list of them, the last of which is shown again and again."""

    def __init__(self, **clips: list[Callable[[], Clip]]) -> None:
        self._clips = clips
        self.opened: dict[str, int] = dict.fromkeys(clips, 0)

    def __call__(self, settings: SourceSettings) -> Clip:
        """Open the next clip of a location; a look that reads nothing uses none up."""
        clips, location = self._clips[settings.location], settings.location
        clip = clips[min(self.opened[location], len(clips) - 1)]()

        def count() -> None:
            self.opened[location] += 1

        clip.on_enter = count
        return clip


class ColourEngine:
    """Embeds a crop as the mean colours of its eight bands, two channels each; black has no direction."""

    name = "onnxruntime"
    precision = "fp32"
    max_batch = 4

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, crops: U8) -> F32:
        """Bands of rows, blue and red."""
        self.batches.append(len(crops))
        bands = crops.reshape(len(crops), 8, -1, 3).astype(np.float32).mean(2)[:, :, ::2].reshape(len(crops), -1)
        length = np.linalg.norm(bands, axis=1, keepdims=True)
        return np.divide(bands, length, out=np.zeros_like(bands), where=length > 0)

    def close(self) -> None:
        """Nothing to free."""

    def __enter__(self) -> ColourEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class StrictCollector:
    """A transport that ends in a collector: takes only what is legal, once, and remembers it."""

    def __init__(self, device: str = "gate", dimension: int = DIMENSION, fingerprint: bytes = FINGERPRINT) -> None:
        self.device = device
        self._dimension = dimension
        self._fingerprint = fingerprint
        self.up = True
        self.opener: Opener | None = None
        self.sightings: dict[tuple[str, int], Sighting] = {}
        self.gaps: dict[tuple[str, int], Gap] = {}

    @property
    def stored(self) -> list[Sighting]:
        """In the order they came."""
        return list(self.sightings.values())

    def post(self, body: bytes) -> Reply:
        """Store, and answer for each record."""
        if not self.up:
            raise LinkDown("collector: nobody there")
        assert explained(body) == len(body)
        outcomes = []
        for item in wire.decode_batch(body, dimension=self._dimension, device=self.device,
                                      fingerprint=self._fingerprint, opener=self.opener):
            if isinstance(item, Sighting):
                known = (item.spool, item.sequence) in self.sightings
                self.sightings.setdefault((item.spool, item.sequence), item)
                outcomes.append(Outcome(item.spool, item.sequence, "duplicate" if known else "stored"))
            else:
                assert isinstance(item, Gap), item
                self.gaps[item.spool, item.first] = item
                outcomes.append(Outcome(item.spool, item.last, "stored"))
        return Reply(200, wire.encode_answer(outcomes))

    def close(self) -> None:
        """Nothing to close."""


class Served:
    """A server on loopback that answers with what a function says."""

    def __init__(self, answer: Callable[[bytes], tuple[int, bytes]], trust: ssl.SSLContext | None = None) -> None:
        self.heads: list[dict[str, str]] = []
        self.received = self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                head = sum(len(name) + len(value) + 4 for name, value in self.headers.items()) + 2
                outer.received += len(self.raw_requestline) + head + len(body)
                outer.heads.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
                status, reply = answer(body)
                self.close_connection = status == 599
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                if status == 503:
                    self.send_header("Retry-After", "9")
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        if trust:
            self.server.socket = trust.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Served:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
