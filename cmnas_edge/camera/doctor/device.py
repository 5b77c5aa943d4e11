"""What a device's settings can be held against: its model, its disk, the way to its collector, each camera."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from msgspec.structs import replace

from cmnas_edge import bundle
from cmnas_edge.camera.doctor.finding import Finding, fault, fine, note
from cmnas_edge.camera.engines import open_engines
from cmnas_edge.camera.frames.frame import Source
from cmnas_edge.camera.frames.source import open_source, source_name
from cmnas_edge.camera.overlap import is_over
from cmnas_edge.camera.sending.transport import Transport
from cmnas_edge.camera.sending.ways import open_transport
from cmnas_edge.camera.settings import CameraSettings, DeviceSettings, SourceSettings
from cmnas_edge.camera.spectrum import chroma
from cmnas_edge.camera.tally import Tally
from cmnas_edge.camera.watch import check_camera
from cmnas_edge.engine.results import chosen
from cmnas_edge.errors import ConfigError, DiskFull, LinkDown, SourceLost
from cmnas_edge.wire import encode_batch

__all__ = ["certificate", "collector", "disk", "model", "view"]

_FAR_S = 2.0        # of clocks: a person who walks past two cameras is told apart by seconds
_SOON_S = 30 * 86400
_MIB = 1 << 20


def model(told: DeviceSettings) -> Iterator[Finding]:
    """The bundle, whose word it is, and the engines that the daemon would run."""
    found = bundle.open_trusted(told.bundle, told.trust)
    voucher = bundle.voucher(found, told.trust)
    words = f"{found.path}, {found.dimension} dimensions, fingerprint {found.fingerprint_hex[:16]}"
    if voucher == "nobody":
        yield note("bundle", f"{words}, signed by nobody", "sign it, and pin the key (docs/keys.md)")
    else:
        yield fine("bundle", f"{words}, vouched for by {voucher}")
    with ExitStack() as opened:
        engines = open_engines(opened, found, told)
        yield fine("engines", "agree with the bundle's golden embeddings: " + ", ".join(
            f"{modality} on {engine.name} {engine.precision}" for modality, engine in engines.items()))
    if told.engine.name == "auto":
        choice = chosen(found, told.engine.threads)
        yield (note("race", choice.why, f"{choice.remedy}; for a service, as the first lines of its unit have it")
               if choice.remedy else fine("race", choice.why))
    if told.also is not None and not is_over(told.also_until, time.time()):
        second = bundle.open_trusted(told.also, told.trust)
        with ExitStack() as opened:
            open_engines(opened, second, told)
        yield fine("second bundle", f"{second.path}, fingerprint {second.fingerprint_hex[:16]}, until "
                                    f"{told.also_until}")


def disk(told: DeviceSettings) -> Iterator[Finding]:
    """Room for the spool, and leave to write there."""
    folder = told.spool.path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{folder}: expected a folder in which this user may write the spool, found none; change "
                          "its owner, or 'path' in [spool]")
    free, used = shutil.disk_usage(folder).free, told.spool.path.stat().st_size if told.spool.path.exists() else 0
    if free + used < told.spool.mib * _MIB:
        raise DiskFull(f"{folder}: expected room for a spool of {told.spool.mib} MiB, found {(free + used) // _MIB} "
                       "MiB; free some, or lower 'mib' in [spool]")
    yield fine("disk", f"{folder}: {free // _MIB} MiB free, the spool takes at most {told.spool.mib}")


def collector(told: DeviceSettings, open_way: Callable[[DeviceSettings, Tally], Transport] = open_transport
              ) -> Iterator[Finding]:
    """The way to the collector, walked to its end and back with an empty batch: nothing is stored."""
    tally = Tally()
    # A log of what is sent is the daemon's alone.
    unlogged = replace(told, link=replace(told.link, sent_log=None, sent_log_tls_keys=None))
    transport = open_way(unlogged, tally)
    try:
        began = time.monotonic()
        reply = transport.post(encode_batch([]))
        took_s = time.monotonic() - began
    finally:
        transport.close()
    said = reply.body[:300].decode("utf-8", "replace").strip()
    if reply.status == 401:
        yield fault("collector", ConfigError(f"token: {said.removeprefix('token: ')}; enrol this device on the "
                                             "collector, and name the file that comes of it"))
        return
    if reply.status not in (200, 400):
        raise LinkDown(f"{told.collector}: expected the collector, found an answer with status {reply.status} "
                       f"({said}); look at the collector's log, and at what stands before it")
    yield fine("collector", f"{told.collector} answers in {1000 * took_s:.0f} ms, and knows this device")
    if (offset_s := tally.clock_offset_s) is not None:
        if abs(offset_s) > _FAR_S:
            way = "ahead of" if offset_s > 0 else "behind"
            yield note("collector's clock", f"{abs(offset_s):.0f} s {way} this one", "let both follow one time server")
        else:
            yield fine("collector's clock", "within two seconds of this one")
    if told.link.seal_to:
        yield fine("sealing", f"vectors are sealed to {told.link.seal_to[:16]}")
    else:
        yield note("sealing", "vectors lie readable in the spool, and are biometric data",
                   "write the collector's key as seal_to in [link] (docs/keys.md)")


def certificate(told: DeviceSettings, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """How long this device's own certificate holds, where a broker asks for one."""
    path = told.link.certificate
    if path is None:
        return
    from cryptography import x509  # noqa: PLC0415 - takes long to import, and few need it

    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        raise ConfigError(f"{path}: expected a certificate in PEM, found none; name the right file") from None
    left_s = ends - now()
    if left_s < 0:
        raise ConfigError(f"{path}: expected a certificate that holds, found one that ended {-left_s / 86400:.0f} days "
                          "ago; have a new one made")
    days = f"holds for {left_s / 86400:.0f} days"
    yield fine("certificate", days) if left_s > _SOON_S else note("certificate", days, "have a new one made soon")


def view(camera: CameraSettings, open_from: Callable[[SourceSettings], Source] = open_source) -> Iterator[Finding]:
    """A camera's detector, and one frame of its source."""
    subject = f"camera {camera.name}"
    check_camera(camera, open_from)
    began = time.monotonic()
    with open_from(camera.source) as source:
        try:
            frame = next(source)
        except StopIteration:
            raise SourceLost(f"{source_name(camera.source)}: expected a frame, found none; look at what it "
                             "shows") from None
    rows, columns = frame.image.shape[:2]
    colour, brightness = chroma(frame.image)
    yield fine(subject, f"{columns}x{rows} after {time.monotonic() - began:.1f} s, chroma {colour:.1f}, brightness "
                        f"{brightness:.0f}; its times are those of the {frame.time_source}")
