"""Which views of a person are worth an embedding, and when one is told.

One person in view for a minute is hundreds of crops. Kept are the few best that are spread
over time, which are averaged into one vector; blurred, cut and hidden views would only pull
the average away. What is not good enough to tell is not told.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge import preprocess
from cmnas_edge.camera.people.geometry import Polygon, areas, coverage, inside
from cmnas_edge.camera.people.track import Tracks
from cmnas_edge.camera.settings import SelectSettings
from cmnas_edge.embedding import Modality

__all__ = ["Cut", "Pick", "Selector", "sharpness"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

_FULL_HEIGHT = 200.0    # pixels; more of them add nothing to a crop of 256 rows at most
_UPRIGHT = 2.6          # height by width of a person standing or walking
_SHARP = 200.0          # variance of the Laplacian from which a crop counts as in focus: more may be a sign's
_FOLLOW = 0.15          # how fast the usual size follows the boxes


class Cut(NamedTuple):
    """How crops are made: rows and columns of one, and one of `cmnas_edge.preprocess.DEFINITIONS`."""

    height: int
    width: int
    definition: str


class Pick(NamedTuple):
    """What one sighting will be made of.

    Attributes:
        tracklet: Whose views.
        crops: BGR, shape ``(k, height, width, 3)``, in the order of time.
        times: When each was seen, seconds.
        seen_from: When the tracklet was first seen in this sighting's time.
        seen_at: When it was last seen.
        quality: Of the best view, 0..1.
        box_width: Of the best view, pixels.
        box_height: Of the best view, pixels.
        modality: Of all its views.
        also: The same views cut for a second bundle, where that wants others; else None.
    """

    tracklet: int
    crops: U8
    times: tuple[float, ...]
    seen_from: float
    seen_at: float
    quality: float
    box_width: int
    box_height: int
    modality: Modality
    also: U8 | None = None

    @property
    def view_count(self) -> int:
        """Number of views."""
        return len(self.crops)


class _View(NamedTuple):
    crop: U8
    seen_at: float
    quality: float
    width: int
    height: int
    also: U8 | None


@dataclass
class _Person:
    """What is known of a tracklet since it was last told."""

    since: float
    seen_at: float
    usual: F32  # logarithms of width and height, averaged over the last views
    modality: Modality | None = None
    views: list[_View] = field(default_factory=list)

    def rival(self, seen_at: float, gap_s: float, most: int) -> tuple[int | None, float]:
        """Which view a new one would replace (None: it would be added), and the quality to beat."""
        # Views are in order of time and at least a gap apart, so only the last can be near.
        if self.views and seen_at - self.views[-1].seen_at < gap_s:
            return len(self.views) - 1, self.views[-1].quality
        if len(self.views) < most:
            return None, 0.0
        worst = min(range(len(self.views)), key=lambda row: self.views[row].quality)
        return worst, self.views[worst].quality


class Selector:
    """Keeps the best views of each tracklet until a sighting is due.

    At most one sighting per tracklet and period, and one at its end if there is something new
    to tell. Memory is bounded by the tracklets in view times the views of each.
    """

    def __init__(self, settings: SelectSettings, height: int, width: int, ignore: Sequence[Polygon] = (), *,
                 definition: str = preprocess.DEFINITION, also: Cut | None = None) -> None:
        """Start with nobody.

        Args:
            settings: What is good enough.
            height: Rows of a crop: the bundle's.
            width: Columns of a crop.
            ignore: Polygons in shares of the frame; a box whose foot (the middle of its lower
                edge) lies in one is not looked at.
            definition: How crops are made: the bundle's.
            also: How others are made of the same views, for a second bundle; None: none are.
        """
        self.also = also
        self._settings = settings
        self._height = height
        self._width = width
        self._ignore = ignore
        self._definition = definition
        self._people: dict[int, _Person] = {}
        self._early: list[Pick] = []

    def offer(self, frame: U8, tracks: Tracks, modality: Modality | None, seen_at: float) -> int:
        """Take the views of one frame that are good enough and better than what is kept.

        Args:
            frame: BGR, shape ``(h, w, 3)``.
            tracks: Who is where in it.
            modality: What the camera sees with; None: uncertain, so nothing is taken.
            seen_at: Seconds.

        Returns:
            How many views were taken.
        """
        if not len(tracks.tracklets):
            return 0
        promise = self._promise(frame.shape[0], frame.shape[1], tracks.boxes)
        sizes = np.log(np.maximum(tracks.boxes[:, 2:] - tracks.boxes[:, :2], 1))
        taken = 0
        for row, tracklet in enumerate(tracks.tracklets.tolist()):
            person = self._people.get(tracklet)
            if person is None:
                person = self._people[tracklet] = _Person(seen_at, seen_at, sizes[row])
            person.seen_at = seen_at
            # A box that jumps in size has swallowed a neighbour, or lost the legs.
            jump = sizes[row] - person.usual
            person.usual = person.usual + _FOLLOW * jump
            steady = math.exp(-2 * float(np.abs(jump).sum()))
            if modality is None or promise[row] <= 0:
                continue
            if person.modality not in (None, modality):  # views of two modalities are never averaged
                self._early += self._told(tracklet, person, seen_at)
            person.modality = modality
            taken += self._consider(person, frame, tracks.boxes[row], steady * float(promise[row]), seen_at)
        return taken

    def due(self, seen_at: float) -> list[Pick]:
        """Give what has waited a period since its tracklet began or was last told."""
        picks, self._early = self._early, []
        for tracklet, person in self._people.items():
            if person.views and seen_at - person.since >= self._settings.period_s:
                picks += self._told(tracklet, person, seen_at)
        return picks

    def adjust(self, settings: SelectSettings) -> None:
        """Go by other settings from the next frame on; any thread may say so."""
        self._settings = settings

    @property
    def in_view(self) -> Collection[int]:
        """Tracklets that have not ended."""
        return self._people.keys()

    def again(self, tracklet: int, since: float) -> None:
        """Take back that a tracklet was told, as when its pick could not be embedded: nothing was since then."""
        if (person := self._people.get(tracklet)) is not None:
            person.since = min(person.since, since)

    def end(self, tracklets: Iterable[int]) -> list[Pick]:
        """Give what is left to tell of tracklets that are over, and forget them."""
        picks = []
        for tracklet in tracklets:
            if person := self._people.pop(tracklet, None):
                picks += self._told(tracklet, person, person.seen_at)
        return picks

    def _told(self, tracklet: int, person: _Person, now: float) -> list[Pick]:
        views, person.views = person.views, []
        since, person.since = person.since, now
        modality = person.modality
        if not views or modality is None:
            return []
        best = max(views, key=lambda view: view.quality)
        also = [view.also for view in views if view.also is not None]
        return [Pick(tracklet, np.stack([view.crop for view in views]), tuple(view.seen_at for view in views),
                     since, max(person.seen_at, views[-1].seen_at), best.quality, best.width, best.height, modality,
                     np.stack(also) if len(also) == len(views) else None)]

    def _consider(self, person: _Person, frame: U8, box: F32, promise: float, seen_at: float) -> bool:
        """Take a view if it beats what is kept; the pixels are looked at only if it can."""
        settings = self._settings
        place, bar = person.rival(seen_at, settings.view_gap_s, settings.view_count)
        if promise <= bar:
            return False
        blur = sharpness(frame, box)
        quality = promise * min(1.0, blur / _SHARP) ** 0.5
        if blur < settings.min_sharpness or quality <= bar:
            return False
        if place is not None:
            del person.views[place]
        crop = preprocess.crops(frame, box[None], self._height, self._width, definition=self._definition)[0]
        other = None if (cut := self.also) is None else preprocess.crops(
            frame, box[None], cut.height, cut.width, definition=cut.definition)[0]
        width, height = np.round(box[2:] - box[:2]).astype(int).tolist()
        person.views.append(_View(crop, seen_at, quality, width, height, other))
        return True

    def _promise(self, rows: int, columns: int, boxes: F32) -> F32:
        """The most that the quality of views can be, judged by their boxes alone; 0 refuses one.

        Full marks: a whole, upright person of `_FULL_HEIGHT` whom nobody hides. Shape ``(n,)``.
        """
        settings = self._settings
        size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3)
        width, height = size[:, 0], size[:, 1]
        aspect = height / width
        hidden = coverage(boxes)
        edge = np.array([columns, rows], np.float32) * settings.border
        low, high = boxes[:, :2] - edge, np.array([columns, rows], np.float32) - edge - boxes[:, 2:]
        good = ((areas(boxes) > 0) & (height >= settings.min_height)
                & (aspect >= settings.min_aspect) & (aspect <= settings.max_aspect)
                & (hidden <= settings.max_overlap) & (low > 0).all(1) & (high > 0).all(1))
        foot = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2 / columns, boxes[:, 3] / rows], 1).astype(np.float32)
        for polygon in self._ignore:
            good &= ~inside(foot, polygon)
        big = np.minimum(height / _FULL_HEIGHT, 1) ** 0.5
        upright = np.minimum(aspect, _UPRIGHT) / np.maximum(aspect, _UPRIGHT)
        return np.where(good, big * upright * (1 - hidden), 0).astype(np.float32)


def sharpness(frame: U8, box: F32) -> float:
    """Variance of the Laplacian of what a box shows, brought to at most `_FULL_HEIGHT` rows.

    Zero for a box without a pixel on the frame.
    """
    limit = np.array([frame.shape[1], frame.shape[0]])
    x1, y1 = np.clip(np.floor(box[:2]), 0, limit).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(box[2:]), 0, limit).astype(int).tolist()
    if x2 <= x1 or y2 <= y1:
        return 0.0
    cut = frame[y1:y2, x1:x2]
    scale = _FULL_HEIGHT / (y2 - y1)
    if scale < 1:
        cut = preprocess.resize(cut, int(_FULL_HEIGHT), max(1, round((x2 - x1) * scale)),
                                definition=preprocess.AREA)
    edges = cv2.Laplacian(cv2.cvtColor(cut, cv2.COLOR_BGR2GRAY), cv2.CV_32F)
    return float(cv2.meanStdDev(edges)[1][0, 0]) ** 2
