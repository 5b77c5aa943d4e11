"""Does this camera see visible light or near infrared? Told from its pictures alone.

A surveillance camera at night moves a filter out of the way, lights infrared lamps and sends
grey pictures; no standard message says so. Grey has no chroma: measured on real footage, a
true monochrome stream has 0, after H.264 up to 2, visible scenes 6 (a nearly white one) to
50. Brightness says nothing, since infrared lamps light a yard up. The state follows the
spectrum, not the clock: a white lamp at night leaves the camera visible.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.settings import SpectrumSettings
from cmnas_edge.embedding import Modality

__all__ = ["Spectrum", "SpectrumState", "chroma"]

U8 = npt.NDArray[np.uint8]
_WIDTH, _HEIGHT = 64, 36
_CLIPPED = (4, 250)     # outside, a pixel has lost its colour
_LEAST_USABLE = 0.05    # share of pixels that must not be clipped
_HIGH_END = 2.5         # the 95th percentile of a scene's chroma is about this many means
_MIN_VOTES = 5          # frames that must agree, however long they took
_FIRST_DWELL_S = 0.4    # there is nothing to switch from yet


class SpectrumState(NamedTuple):
    """What a camera sees with.

    Attributes:
        modality: None while uncertain: at the start, and on the way from one to the other.
        switched: This frame is the first of a modality other than the last certain one (or of the first).
    """

    modality: Modality | None
    switched: bool


def chroma(image: U8) -> tuple[float, float]:
    """How much colour a picture has.

    The spread of the three channels of a thumbnail (averaging away sensor noise): its mean,
    or its 95th percentile on the mean's scale where that is more, for the scene that is grey
    but for one red jacket. It is taken of the picture as it is and with its channel means
    made equal, and the lesser counts: a camera whose filter is out but whose stream is still
    "colour" shows a purple cast, which is one hue all over.

    Args:
        image: BGR, shape ``(h, w, 3)``.

    Returns:
        Chroma in 0..255, or NaN when nearly every pixel is black or saturated and so tells
        nothing; and mean brightness in 0..255.
    """
    sample = cv2.resize(image, (4 * _WIDTH, 4 * _HEIGHT), interpolation=cv2.INTER_NEAREST)  # whatever the frame's size
    small = cv2.resize(sample, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    planes = np.stack(cv2.split(small)).reshape(3, -1).astype(np.float32)
    brightness = float(planes.mean())
    top = planes.max(0)
    usable = planes.compress((top >= _CLIPPED[0]) & (top <= _CLIPPED[1]), 1)
    if usable.shape[1] < _LEAST_USABLE * planes.shape[1]:
        return float("nan"), brightness
    means = usable.mean(1, keepdims=True)
    balanced = usable * (means.mean() / np.maximum(means, 1))
    return min(_spread(usable), _spread(balanced)), brightness


def _spread(planes: npt.NDArray[np.float32]) -> float:
    spread = planes.max(0) - planes.min(0)
    high = int(0.95 * (len(spread) - 1))
    return float(max(spread.mean(), np.partition(spread, high)[high] / _HIGH_END))


class Spectrum:
    """Visible, uncertain or infrared: changes only after votes that agreed for a while.

    A frame votes visible above one threshold and infrared below a lower one; between them, in
    the dark and when saturated it doesn't vote. The first vote against the present state makes
    it uncertain, so that no sighting is made of a changing picture; votes that agree for
    `dwell_s` settle it, either way. After a switch the exposure has `settle_s` to find itself.
    """

    def __init__(self, settings: SpectrumSettings) -> None:
        self._settings = settings
        self._certain: Modality | None = None
        self._doubted = False
        self._run_of: Modality | None = None
        self._run_from = 0.0
        self._run_votes = 0

    def adjust(self, settings: SpectrumSettings) -> None:
        """Go by other settings from the next frame on; any thread may say so."""
        self._settings = settings

    def update(self, frame: U8, seen_at: float) -> SpectrumState:
        """Look at one frame, at a time in seconds that does not run backwards."""
        if self._settings.modality != "auto":
            first = self._certain is None
            self._certain = self._settings.modality
            return SpectrumState(self._certain, first)
        vote = self._vote(frame)
        if vote is None:
            return self._state()
        if vote != self._run_of:
            self._run_of, self._run_from, self._run_votes = vote, seen_at, 0
        self._run_votes += 1
        if vote != self._certain:
            self._doubted = True
        if not self._doubted or self._run_votes < _MIN_VOTES or seen_at - self._run_from < self._dwell_s(vote):
            return self._state()
        switched = vote != self._certain
        self._certain, self._doubted = vote, False
        return SpectrumState(vote, switched)

    def _dwell_s(self, vote: Modality) -> float:
        if self._certain is None:
            return min(_FIRST_DWELL_S, self._settings.dwell_s)
        return self._settings.dwell_s + (self._settings.settle_s if vote != self._certain else 0.0)

    def _state(self) -> SpectrumState:
        return SpectrumState(None if self._doubted else self._certain, False)

    def _vote(self, frame: U8) -> Modality | None:
        colour, brightness = chroma(frame)
        if brightness < self._settings.dark_below or np.isnan(colour):
            return None
        low, high = self._settings.infrared_below, self._settings.visible_above
        if self._certain is None:
            low = high = (low + high) / 2  # a scene between the two must not stay uncertain for ever
        if colour >= high:
            return "visible"
        return "infrared" if colour <= low else None
