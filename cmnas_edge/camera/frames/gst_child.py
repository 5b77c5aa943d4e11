"""What runs in the child process of `gstreamer`: GStreamer to BGR pictures on stdout, the newest one only.

It is started as a file by whatever Python has the package ``gi``, most often the system's, which knows
nothing of this project: so it imports nothing but the standard library, and ``gi`` inside functions.
Orders come as one line of JSON on stdin, where nobody who lists processes reads a camera's password. Then
each byte there asks for a picture: none waits in the pipe and grows old. The end of stdin is the end of the
process, so that no child outlives its parent.

On stdout, each with the header `HEADER` before it: pictures (``CMNF``: width, height, bytes per pixel,
bytes per row, pictures missed since the last one, sender's time in epoch seconds or NaN; then the rows)
and at most one last message (``CMNM``: its length in place of the width; then JSON of ``kind`` and ``text``).
"""

from __future__ import annotations

import collections
import json
import os
import signal
import struct
import sys
import threading
from typing import Any, NoReturn

__all__ = ["HEADER", "MESSAGE", "PICTURE", "main"]

HEADER = struct.Struct("<4sIIIIId")
PICTURE, MESSAGE = b"CMNF", b"CMNM"
_SINK = "cmnas_sink"
_NTP_TO_UNIX_S = 2208988800
_POLL_NS = 100_000_000
_MOST_WORDS = 300
_PARTING_S = 1.5    # to say goodbye to a camera, many of which serve only a few at a time


def main() -> None:
    """Read the order, and do it until told to stop."""
    order = json.loads(_line())
    try:
        import gi  # noqa: PLC0415 (only this process has it)

        gi.require_version("Gst", "1.0")
        from gi.repository import GLib, Gst  # noqa: PLC0415
    except (ImportError, ValueError) as error:
        _leave("missing", str(error))
    Gst.init(None)
    try:
        pipeline = Gst.parse_launch(
            f"{order['pipeline']} ! videoconvert ! video/x-raw,format=(string){{BGR,BGRx}} ! "
            f"appsink name={_SINK} max-buffers=1 drop=true sync=false")
    except GLib.Error as error:
        lacking = error.matches(Gst.ParseError.quark(), Gst.ParseError.NO_SUCH_ELEMENT)
        # What a property could not be set to may be a password.
        _leave("missing" if lacking else "wrong", error.message.partition('" to "')[0])
    if others := [name for name in _sinks(Gst, pipeline) if name != _SINK]:
        _leave("wrong", f"a sink of its own ({', '.join(others)}), where pictures may leave")
    source = pipeline.get_by_name("source")
    for name, value in order["properties"].items():
        if source is not None and source.find_property(name) is not None:
            source.set_property(name, value)
    if order["look_only"]:
        _leave("right", "")
    stop, wanted = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(wanted, stop), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    _play(Gst, pipeline, wanted, stop)


def _play(Gst: Any, pipeline: Any, wanted: threading.Event, stop: threading.Event) -> None:
    sink, bus = pipeline.get_by_name(_SINK), pipeline.get_bus()
    arrived, told = [0], 0
    lacks: collections.deque[str] = collections.deque(maxlen=3)

    def count(*_: object) -> Any:
        arrived[0] += 1
        return Gst.PadProbeReturn.OK

    sink.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, count)
    pipeline.set_state(Gst.State.PLAYING)
    try:
        while not stop.is_set():
            _heed(Gst, bus, lacks)
            if not wanted.wait(_POLL_NS / 1e9):
                continue
            sample = sink.emit("try-pull-sample", _POLL_NS)
            # A damaged one, as before the first key frame, is none.
            if sample is not None and not sample.get_buffer().has_flags(Gst.BufferFlags.CORRUPTED):
                so_far = arrived[0]
                wanted.clear()
                _tell(Gst, sample, max(0, so_far - told - 1))
                told = so_far
    except BrokenPipeError:  # nobody reads any more
        pass
    finally:
        pipeline.set_state(Gst.State.NULL)


def _heed(Gst: Any, bus: Any, lacks: collections.deque[str]) -> None:
    heeded = Gst.MessageType.ERROR | Gst.MessageType.EOS | Gst.MessageType.ELEMENT
    while (message := bus.pop_filtered(heeded)) is not None:
        if message.type == Gst.MessageType.EOS:
            _leave("lost", "the stream ended")
        elif message.type == Gst.MessageType.ERROR:
            error = message.parse_error()[0]
            if error.matches(Gst.CoreError.quark(), Gst.CoreError.MISSING_PLUGIN):
                _leave("undecodable", " and ".join(lacks) or "one that it does not name")
            _leave("lost", error.message)
        elif message.has_name("missing-plugin"):    # no error yet: it may have been for the sound
            name, detail = (message.get_structure().get_value(key) for key in ("name", "detail"))
            words = detail if isinstance(detail, str) else detail.to_string().replace("(string)", "")
            lacks.append(f"{name} ({words})")


def _tell(Gst: Any, sample: Any, missed_count: int) -> None:
    caps, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
    width, height = caps.get_value("width"), caps.get_value("height")
    depth = 4 if caps.get_value("format") == "BGRx" else 3
    sent_at = float("nan")
    if hasattr(buffer, "get_reference_timestamp_meta"):
        meta = buffer.get_reference_timestamp_meta(Gst.Caps.from_string("timestamp/x-ntp"))
        if meta is not None:
            sent_at = meta.timestamp / 1e9 - _NTP_TO_UNIX_S
    mapped, content = buffer.map(Gst.MapFlags.READ)
    if not mapped:
        return
    try:
        stride = content.size // height
        sys.stdout.buffer.write(HEADER.pack(PICTURE, width, height, depth, stride, missed_count, sent_at))
        sys.stdout.buffer.write(memoryview(content.data)[:stride * height])
        sys.stdout.buffer.flush()
    finally:
        buffer.unmap(content)


def _sinks(Gst: Any, pipeline: Any) -> list[str]:
    names: list[str] = []
    iterator = pipeline.iterate_sinks()
    while True:
        result, element = iterator.next()
        if result != Gst.IteratorResult.OK:
            return names
        names.append(element.get_name())


def _line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 1)):  # nothing of what comes after it may be swallowed
        line += more
    return line


def _listen(wanted: threading.Event, stop: threading.Event) -> None:
    while os.read(0, 64):
        wanted.set()
    stop.set()
    wanted.set()
    threading.Event().wait(_PARTING_S)
    os._exit(0)  # a decoder that does not let go


def _leave(kind: str, text: str) -> NoReturn:
    # Some of it is a camera's own words, and is meant for a log.
    words = "".join(one for one in " ".join(text.split()) if one.isprintable())[:_MOST_WORDS]
    content = json.dumps({"kind": kind, "text": words}).encode()
    sys.stdout.buffer.write(HEADER.pack(MESSAGE, len(content), 0, 0, 0, 0, 0.0) + content)
    sys.stdout.buffer.flush()
    sys.exit(0)


if __name__ == "__main__":
    main()
