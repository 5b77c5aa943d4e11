"""What the cameras of a run see: a drawn site, filmed once and kept, or the user's own videos."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2

from cmnas_edge import config
from cmnas_edge.demo.play import Clip
from cmnas_edge.errors import ConfigError
from cmnas_edge.progress import Progress
from cmnas_edge.synthetic.film import SiteFile, h264_is_here, read_site, write_site
from cmnas_edge.synthetic.site import Site

__all__ = ["draw_site", "own_videos"]


def draw_site(folder: Path, *, seed: int, people: int, seconds: float) -> tuple[list[Clip], Path]:
    """Film a drawn site, or find it filmed already.

    Returns:
        A clip per camera, and the truth about every frame (JSON lines).

    Raises:
        ConfigError: There is no such site.
    """
    try:
        site = Site.draw(seed, people, duration_s=seconds)
    except ValueError as error:
        raise ConfigError(f"demo: {error}; change --seed, --people or --seconds") from None
    if not _is_filmed(folder, site):
        (folder / "site.toml").unlink(missing_ok=True)
        with Progress(f"frames of {people} people drawn") as progress:
            write_site(site, folder, progress)
    kept = config.load(folder / "site.toml", SiteFile)
    clips = [Clip(camera.name, folder / str(camera.video), seconds, str(camera.video).endswith(".mp4"))
             for camera in kept.cameras]
    return clips, folder / "truth.jsonl"


def own_videos(paths: Sequence[Path]) -> list[Clip]:
    """Take the user's videos, one camera each, named after its file.

    Raises:
        ConfigError: A file is missing or is no video, or two would give cameras of one name.
    """
    clips: list[Clip] = []
    for path in paths:
        if not path.is_file():
            raise ConfigError(f"{path}: expected a video, found no file; correct --video")
        video = cv2.VideoCapture(str(path))
        frames, fps = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
        codec = int(video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        video.release()
        if not (frames > 0 and fps > 0):
            raise ConfigError(f"{path}: expected a video, found something else; correct --video")
        name = "cam-" + re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem)[:24].strip("-")
        if any(clip.name == name for clip in clips):
            raise ConfigError(f"{path}: expected videos of different names, found a second {name!r}; rename one")
        clips.append(Clip(name, path, frames / fps, codec.to_bytes(4, "little").lower() in (b"avc1", b"h264")))
    return clips


def _is_filmed(folder: Path, site: Site) -> bool:
    """Whether the folder holds this very site, complete, in the codec this machine would choose."""
    path = folder / "site.toml"
    if not path.is_file():
        return False
    try:
        kept, found = read_site(path), config.load(path, SiteFile)
    except ConfigError:
        return False
    same = (kept.seed, len(kept.people), kept.duration_s, kept.fps) == (
        site.seed, len(site.people), site.duration_s, site.fps)
    videos = [folder / str(camera.video) for camera in found.cameras]
    return same and all(video.is_file() for video in videos) and (
        h264_is_here() == all(video.suffix == ".mp4" for video in videos))
