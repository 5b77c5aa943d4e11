"""A site on disk: one video per camera, the truth beside them, and the few numbers that draw it again.

``truth.jsonl`` has a line for each person in each frame, with the fields of `site.Truth`. ``site.toml`` can be
given to a camera daemon in place of a video: it then draws the same frames as they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from cmnas_edge import config
from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.scene import HEIGHT, WIDTH
from cmnas_edge.synthetic.site import STARTS_AT, Kind, Site, SiteCamera

U8 = npt.NDArray[np.uint8]

_Write = Callable[[U8], object]
_CRF: Final = "26"  # about half a megabit a second: what such cameras send
_MJPG_QUALITY: Final = 90


class CameraFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A camera in ``site.toml``.

    Attributes:
        name: Of the camera.
        kind: What it sees; ``dual`` is visible until dusk, then infrared.
        video: File of its footage, beside ``site.toml``; None if it was never filmed.
    """

    name: str
    kind: Kind
    video: str | None = None


class SiteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``site.toml`` holds: enough to draw a site again.

    Attributes:
        seed: Of everything in it.
        people: How many walk through it.
        duration_s: Of the footage.
        fps: Frames per second.
        starts_at: Epoch seconds of the first frame.
        dusk_s: When dual cameras turn to infrared; None for halfway.
        cameras: In the order they are placed.
    """

    seed: int
    people: int
    duration_s: float
    cameras: tuple[CameraFile, ...]
    fps: float = 10.0
    starts_at: float = STARTS_AT
    dusk_s: float | None = None


def read_site(path: Path) -> Site:
    """Draw the site that a ``site.toml`` describes.

    Raises:
        ConfigError: The file is missing, malformed, or describes what cannot be.
    """
    wanted = config.load(path, SiteFile)
    try:
        return Site.draw(
            wanted.seed,
            wanted.people,
            [camera.kind for camera in wanted.cameras],
            wanted.duration_s,
            wanted.fps,
            starts_at=wanted.starts_at,
            dusk_s=wanted.dusk_s,
            names=[camera.name for camera in wanted.cameras],
        )
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; correct it or draw the site again") from error


def write_site(
    site: Site,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    codec: Literal["auto", "h264", "mjpg"] = "auto",
) -> dict[str, Path]:
    """Film a site.

    Args:
        site: What to film.
        folder: Made if missing; files of the same names are replaced, each once it is complete.
        progress: Called with (frames done, all) after each frame.
        codec: H.264 needs the package ``av``; ``auto`` takes it where it is there, else Motion JPEG.

    Returns:
        The video of each camera, by its name. ``truth.jsonl`` and ``site.toml`` lie beside them.

    Raises:
        ValueError: H.264 is asked for and cannot be written here.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    h264 = codec == "h264" or (codec == "auto" and h264_is_here())
    if h264 and not h264_is_here():
        raise ValueError("site: expected a codec this machine has, found h264; install 'av' or take mjpg")
    every = site.frame_count * len(site.cameras)
    done = 0
    videos = {}
    with _whole(folder / "truth.jsonl") as unfinished, unfinished.open("wb") as truth:
        for camera in site.cameras:
            path = folder / f"{camera.name}.{'mp4' if h264 else 'avi'}"
            with _whole(path) as part, _open(part, h264, site.fps) as write:
                for frame in site.frames(camera):
                    write(frame)
                    done += 1
                    if progress is not None:
                        progress(done, every)
            truth.writelines(msgspec.json.encode(row._asdict()) + b"\n" for row in site.truth(camera))
            videos[camera.name] = path
    (folder / "site.toml").write_text(config.show(_described(site, videos)), encoding="utf-8")
    return videos


def h264_is_here() -> bool:
    """Whether H.264 can be written: ``av`` is optional, and some builds of it lack the encoder."""
    try:
        import av  # noqa: PLC0415
    except ImportError:
        return False
    return "libx264" in av.codecs_available


def _described(site: Site, videos: dict[str, Path]) -> SiteFile:
    def described(camera: SiteCamera) -> CameraFile:
        return CameraFile(name=camera.name, kind=camera.kind, video=videos[camera.name].name)

    return SiteFile(
        seed=site.seed,
        people=len(site.people),
        duration_s=site.duration_s,
        fps=site.fps,
        starts_at=site.starts_at,
        dusk_s=site.dusk_s,
        cameras=tuple(described(camera) for camera in site.cameras),
    )


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file that appears under its name only once it is complete."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open(path: Path, h264: bool, fps: float) -> Iterator[_Write]:
    if h264:
        with _h264(path, fps) as write:
            yield write
        return
    # OpenCV tells containers apart by the name's end, which a part hasn't got; the backend is named instead.
    named = path.with_name(f"{path.name}.avi")
    writer = cv2.VideoWriter(
        str(named), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), fps, (WIDTH, HEIGHT),
        [cv2.VIDEOWRITER_PROP_QUALITY, _MJPG_QUALITY],
    )  # fmt: skip
    if not writer.isOpened():
        raise OSError(f"{path.parent}: cannot write a video there")
    try:
        yield writer.write
        writer.release()
        named.replace(path)
    finally:
        writer.release()
        named.unlink(missing_ok=True)


@contextmanager
def _h264(path: Path, fps: float) -> Iterator[_Write]:
    import av  # noqa: PLC0415

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": _CRF, "preset": "veryfast"}

        def write(frame: U8) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))

        yield write
        container.mux(stream.encode())
