"""A real RTSP server of numbered light: Debian's, run by the system's Python in a process of its own.

Every picture is a row of 32 bars, bright or dark: the bits of the milliseconds of the monotonic
clock when it was made, so that whoever decodes it on this machine knows its age. Said on stdin,
a line each: ``size W H``, ``break P`` (damage each byte of the encoded video with probability P).

Arguments: ``--port N``, ``--fps N``, ``--shared`` (who comes later joins in the middle), ``--user NAME
--password WORD``, ``--probe`` (say whether this machine can). The first line of its output is the port.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (only after their versions are chosen)

NEEDED = ("x264enc", "h264parse", "rtph264pay", "breakmydata", "appsrc", "videoconvert")
CAPS = "video/x-raw,format=I420,width={},height={},framerate={}/1"
DESCRIPTION = ("( appsrc name=bars is-live=true do-timestamp=true format=time caps=\"{caps}\" ! "
               "x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=500 ! "
               "video/x-h264,profile=baseline ! breakmydata name=broken probability=0 skip=200 ! "
               "rtph264pay name=pay0 pt=96 config-interval=-1 )")


class Film(GstRtspServer.RTSPMediaFactory):  # type: ignore[misc]
    """A film, begun anew for everyone who watches unless they share one."""

    def __init__(self, fps: int, shared: bool) -> None:
        super().__init__()
        self.set_shared(shared)
        self.fps = fps
        self.width, self.height = 320, 240
        self.probability = 0.0
        self.media: list[GstRtspServer.RTSPMedia] = []
        self.set_latency(0)
        self.set_launch(DESCRIPTION.format(fps=fps, caps=CAPS.format(self.width, self.height, fps)))
        self.connect("media-configure", self.begin)

    def begin(self, _: object, media: GstRtspServer.RTSPMedia) -> None:
        """Show the film to whoever opened it, until they leave."""
        over = threading.Event()
        media.connect("unprepared", lambda *_: (over.set(), self.media.remove(media)))
        self.media.append(media)
        bars = media.get_element().get_by_name_recurse_up("bars")
        break_video(media, self.probability)
        wanted = threading.Event()  # what is pushed before may be thrown away, and with it what opens the stream
        bars.connect("need-data", lambda *_: wanted.set())
        threading.Thread(target=self.show, args=(bars, wanted, over), daemon=True).start()

    def show(self, bars: Gst.Element, wanted: threading.Event, over: threading.Event) -> None:
        """Push pictures at their rate."""
        wanted.wait(10)
        size = (320, 240)
        due = time.monotonic()
        while not over.is_set():
            if size != (self.width, self.height):
                size = self.width, self.height
                bars.set_property("caps", Gst.Caps.from_string(CAPS.format(*size, self.fps)))
            bars.emit("push-buffer", Gst.Buffer.new_wrapped(picture(*size)))
            due = max(due + 1 / self.fps, time.monotonic() - 1)
            over.wait(max(0.0, due - time.monotonic()))

    def damage(self, probability: float) -> None:
        """Break the encoded video from now on."""
        self.probability = probability
        for media in list(self.media):
            break_video(media, probability)


def break_video(media: GstRtspServer.RTSPMedia, probability: float) -> None:
    """Break what is shown there, if it is still shown."""
    if (element := media.get_element()) is not None:
        element.get_by_name_recurse_up("broken").set_property("probability", probability)


def picture(width: int, height: int) -> bytes:
    """The milliseconds of now, as bars; planes of I420."""
    now = int(time.monotonic() * 1000) & 0xFFFFFFFF
    row = b"".join((b"\xd2" if now >> bit & 1 else b"\x28") * (width // 32) for bit in range(32))
    return row * height + b"\x80" * (width * height // 2)


def heed(film: Film) -> None:
    """Do what stdin says; its end is the end."""
    for line in sys.stdin:
        word, *values = line.split()
        if word == "size":
            film.width, film.height = (int(value) for value in values)
        elif word == "break":
            film.damage(float(values[0]))
    os._exit(0)


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--probe", action="store_true")
    args = parser.parse_args()
    Gst.init(None)
    if missing := [name for name in NEEDED if Gst.ElementFactory.find(name) is None]:
        sys.exit(f"GStreamer has no {', '.join(missing)}")
    if args.probe:
        return
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    film = Film(args.fps, args.shared)
    if args.user:
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
        server.set_auth(auth)
        film.add_role_from_structure(Gst.Structure.from_string(
            "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true")[0])
    server.get_mount_points().add_factory("/live", film)
    if not server.attach(None):
        sys.exit("cannot listen")
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    threading.Thread(target=heed, args=(film,), daemon=True).start()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
