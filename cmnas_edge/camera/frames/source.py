"""Where a camera's frames come from: one way to open them all.

Recorded sources (`footage`) lose nothing and bring their own clock; live ones (`stream`) keep
only the newest frame; OpenCV reads them, or GStreamer where the settings say so. Whoever reads a
live one waits between attempts as `Backoff` says. All live ones of a process tell time on one scale
(`times`), however often they are opened.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cmnas_edge.camera.backoff import Backoff
from cmnas_edge.camera.frames import gstreamer
from cmnas_edge.camera.frames.capture import Capture, open_device, open_url
from cmnas_edge.camera.frames.footage import Footage, Recording, folder, video
from cmnas_edge.camera.frames.frame import Frame, Source
from cmnas_edge.camera.frames.refusal import why_not
from cmnas_edge.camera.frames.stream import Stream
from cmnas_edge.camera.frames.times import Timescale
from cmnas_edge.camera.settings import SourceSettings
from cmnas_edge.errors import ConfigError, SourceLost

__all__ = ["Backoff", "Frame", "Source", "open_source", "source_name"]

_RIBBON = "csi://"
_SCHEMES = ("rtsp", "rtsps", "http", "https", "csi")
_DEVICES = "/dev/video"
_SINCE_START = Timescale()


def open_source(settings: SourceSettings, scale: Timescale = _SINCE_START) -> Source:
    """Open what the settings name. A live source is only connected to on entering its context.

    Args:
        settings: What and how.
        scale: What live frames' times are told in; also paces recorded ones.

    Raises:
        ConfigError: The location of a recorded source isn't what it should be, a URL is none, or a
            pipeline is not understood.
        DeviceError: It is to be read by GStreamer, and this machine lacks that or an element of it.
    """
    try:
        return _open(settings, scale)
    except OSError as error:  # only files are touched here
        raise ConfigError(f"{settings.location}: cannot be read ({error.strerror}); check the path and its mode"
                          ) from None


def _open(settings: SourceSettings, scale: Timescale) -> Source:
    kind = _kind(settings)
    if kind == "url":
        name = source_name(settings)
        if (description := _pipeline(settings)) is not None:
            gstreamer.look(name, description)
        return Stream(name, lambda: _connect(settings, name), settings.silence_s, max_fps=settings.max_fps,
                      scale=scale, sender_within_s=settings.sender_within_s)
    path = Path(settings.location)
    if kind == "video":
        recording = video(path, settings.fps)
    elif kind == "folder":
        recording = folder(path, settings.fps)
    else:
        recording = _drawn(path, settings.camera)
    if settings.starts_at is not None:
        recording = recording._replace(starts_at=settings.starts_at)
    return Footage(recording, real_pace=settings.pace == "real", loop=settings.loop, max_fps=settings.max_fps,
                   monotonic=scale.monotonic)


def _connect(settings: SourceSettings, name: str) -> Capture:
    """Reach a live camera.

    Raises:
        SourceLost: It is not there, refuses, or is not understood.
    """
    location, silence_s = settings.location, settings.silence_s
    if (description := _pipeline(settings)) is not None:
        return gstreamer.Child(name, description, gstreamer.properties(location), silence_s,
                               why=partial(why_not, location, silence_s) if location.startswith("rtsp:") else None)
    if location.startswith(_DEVICES):
        if (device := open_device(location, settings.size)) is None:
            raise SourceLost(f"{name}: expected a camera, found none that can be opened; check that it is plugged "
                             "in, that nobody else uses it and that this user is in the group 'video'")
        return device
    if (stream := open_url(location, silence_s)) is None:
        raise SourceLost(f"{name}: expected a stream, found {why_not(location, silence_s)}")
    return stream


def _pipeline(settings: SourceSettings) -> str | None:
    """What GStreamer is to run, or None where OpenCV reads."""
    location, pipeline = settings.location, settings.pipeline
    if pipeline is None and location.startswith(_RIBBON):  # which nobody else can read
        pipeline = "jetson"
    if pipeline is None:
        return None
    gstreamer.properties(location)
    return gstreamer.describe(pipeline, location, settings.size)


def source_name(settings: SourceSettings) -> str:
    """What messages call a source: of a URL only scheme and host, since cameras take passwords anywhere.

    Raises:
        ConfigError: The location is a URL of a kind that cannot be read.
    """
    location = settings.location
    if settings.kind not in ("auto", "url") or (settings.kind == "auto" and "://" not in location):
        return location
    if location.startswith(_DEVICES):
        return location
    scheme, _, rest = location.partition("://")
    if scheme.lower() not in _SCHEMES:
        raise ConfigError(f"source: expected a location that begins with {', '.join(s + '://' for s in _SCHEMES)} "
                          f"or {_DEVICES}, found another URL; write the camera's address")
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    # A part of a password may have been taken for a port.
    if (not host or port is not None) and "@" in rest and "@" not in re.split("[/?#]", rest)[0]:
        raise ConfigError("source.location: expected user and password before the first '/', found a '/', '?' or '#' "
                          "among them; write it %2F, %3F or %23 (and an '@' of the path %40)")
    if not host:
        raise ConfigError("source.location: expected a host, and after it nothing or a port of at most 65535, found "
                          "another form; write the camera's address")
    if not location.isprintable() or not _could_be_found(host):
        raise ConfigError("source.location: expected signs that can be printed, and a host whose parts between dots "
                          "have 1 to 63 of them, found others; write the camera's address")
    at = f"[{host}]" if ":" in host else host
    return f"{scheme.lower()}://{at}" + (f":{port}" if port else "")


def _could_be_found(host: str) -> bool:
    """Whether it can be asked for at all; of one that cannot, who asks is told by no `OSError`."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _drawn(path: Path, camera: str | None) -> Recording:
    from cmnas_edge.synthetic.film import read_site  # noqa: PLC0415 (only who draws needs it)

    site = read_site(path)
    names = [one.name for one in site.cameras]
    if camera is None or camera not in names:
        raise ConfigError(f"{path}: expected 'camera' to be one of {', '.join(names)}, found {camera or 'none'}; "
                          "set it beside 'location'")
    return Recording(lambda: site.frames(camera), site.fps, site.starts_at)


def _kind(settings: SourceSettings) -> Literal["video", "folder", "url", "site"]:
    if settings.kind != "auto":
        return settings.kind
    if "://" in settings.location or settings.location.startswith(_DEVICES):
        return "url"
    path = Path(settings.location)
    return "site" if path.suffix == ".toml" else "folder" if path.is_dir() else "video"
