"""Does this camera see visible light or near infrared? Told from its pictures alone.

A surveillance camera at night moves a filter out of the way, lights infrared lamps and sends
grey pictures; no standard message says so. Grey has no chroma: a monochrome stream has 0, and
little more after software that rounds; two real scenes in daylight have 40 to 60, drawn ones of
snow and concrete 1 to 3. No one threshold fits all, so each camera's is learned from what
it shows. Brightness says nothing, since infrared lamps light a yard up. The state follows the
spectrum, not the clock: a white lamp at night leaves the camera visible. Figures: docs/dusk.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.camera.override import Order
from cmnas_edge.camera.settings import SpectrumSettings
from cmnas_edge.embedding import Modality

__all__ = ["Spectrum", "SpectrumState", "chroma"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
_WIDTH, _HEIGHT = 64, 36
_CLIPPED = (4, 250)     # outside, a pixel has lost its colour
_LEAST_USABLE = 0.05    # share of pixels that must not be clipped
_FLAT = 1.5             # standard deviation of brightness: below, it is a decoder's grey for a picture it has not got
_HIGH_END = 2.5         # the 95th percentile of a scene's chroma is about this many means
_ROUNDED = 2.5          # levels that a channel may lie off by everywhere: grey through another colour space and back
_PURPLE = 0.9           # green below this share of both others: no filter, and a stream still in colour
_MIN_VOTES = 5          # frames that must agree, however long they took
_FIRST_DWELL_S = 0.4    # there is nothing to switch from yet
_PATIENCE_S = 30.0      # of doubt about pictures that vote for nothing
_DARKENED = 2.0         # times darker than before: lamps went out, or the filter

# Of `infrared_below`: what is grey whatever was learned, and where the two part while nothing was.
_GREY, _COLOUR = 0.05, 0.36
# Of what a visible camera shows at least: below the one it is infrared, above the other visible.
_FALLEN, _KEPT = 0.3, 0.6
_RISEN = 2.5            # times what an infrared camera shows: above, it is visible
_FADING_S, _GROWING_S, _STEADY_S = 60.0, 5 * 86400.0, 3600.0   # how fast either is learned
_LONGEST_STEP_S = 10.0  # one frame after a silence says no more than the silence was long, nor than this


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
    but for one red jacket. A tint of at most `_ROUNDED` levels all over is none. A camera whose
    filter is out but whose stream is still "colour" shows one purple hue all over: where green is
    the least of the channels' means, only so much of the spread counts as is left when the means
    are made equal. Other hues count, since a street in sodium light has one and is visible.

    Args:
        image: BGR, shape ``(h, w, 3)``.

    Returns:
        Chroma in 0..255, or NaN when nearly every pixel is black or saturated, or all are alike,
        which tells nothing; and mean brightness in 0..255.
    """
    sample = cv2.resize(image, (4 * _WIDTH, 4 * _HEIGHT), interpolation=cv2.INTER_NEAREST)  # whatever the frame's size
    small = cv2.resize(sample, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    planes = np.stack(cv2.split(small)).reshape(3, -1).astype(np.float32)
    brightness = float(planes.mean())
    top = planes.max(0)
    usable = planes.compress((top >= _CLIPPED[0]) & (top <= _CLIPPED[1]), 1)
    if usable.shape[1] < _LEAST_USABLE * planes.shape[1] or planes.mean(0).std() < _FLAT:
        return float("nan"), brightness
    tint = np.median(usable - usable.mean(0), axis=1, keepdims=True)
    colour = _spread(usable - np.clip(tint, -_ROUNDED, _ROUNDED))
    means = usable.mean(1)
    if means[1] < _PURPLE * min(means[0], means[2]):
        left = _spread(usable * (means.mean() / np.maximum(means, 1))[:, None])
        colour = min(colour, left * left / max(colour, 1.0))
    return colour, brightness


def _spread(planes: F32) -> float:
    spread = planes.max(0) - planes.min(0)
    high = int(0.95 * (len(spread) - 1))
    return float(max(spread.mean(), np.partition(spread, high)[high] / _HIGH_END))


class Spectrum:
    """Visible, uncertain or infrared: changes only after votes that agreed for a while.

    A frame votes visible above one threshold and infrared below a lower one. Between them, in
    the dark and when saturated it doesn't vote. Whatever is not a vote for the present state makes
    it uncertain, so that no sighting is made of a changing picture; only slowly fallen darkness
    leaves it as it was. Votes for what it was end that after `settle_s`, votes for the other modality after
    `dwell_s`: headlights and lost packets last seconds. The next switch waits for `apart_s`.

    Thresholds lie within the operator's two: infrared is what has clearly less colour than
    this camera showed of late while visible, and visible what has clearly more than it shows
    in infrared. Whoever orders a modality is obeyed; when that ends, the picture decides anew.
    """

    def __init__(self, settings: SpectrumSettings, order: Callable[[], Order] = lambda: "auto") -> None:
        """Start uncertain.

        Args:
            settings: What the operator wrote; a modality set there is final.
            order: Asked at each frame what the camera is to be; see `override`.
        """
        self._settings = settings
        self._order: Callable[[], Order] = order if settings.modality == "auto" else (lambda: settings.modality)
        self._ordered = False
        self._certain: Modality | None = None
        self._doubted = False
        self._doubted_at = 0.0
        self._run_of: Modality | None = None
        self._run_from = 0.0
        self._run_votes = 0
        self._switched_at = -math.inf
        self._brightness = 0.0
        self._levels: dict[Modality, float] = {}    # chroma: the least while visible, the usual while infrared
        self._grey = 0.0        # chroma that nights have shown; slow, so that one mistake teaches nothing
        self._learned_at = 0.0

    def adjust(self, settings: SpectrumSettings) -> None:
        """Go by other settings from the next frame on; any thread may say so."""
        self._settings = settings

    def update(self, frame: U8, seen_at: float) -> SpectrumState:
        """Look at one frame, at a time in seconds that does not run backwards."""
        if (order := self._order()) != "auto":
            switched = order != self._certain
            self._ordered, self._certain, self._doubted, self._run_of = True, order, False, None
            return SpectrumState(order, switched)
        if self._ordered:
            self._ordered = False
            self._doubt(seen_at)
        return self.judge(*chroma(frame), seen_at)

    def judge(self, colour: float, brightness: float, seen_at: float) -> SpectrumState:
        """Judge a frame by what `chroma` says of it.

        Args:
            colour: Chroma, 0..255, or NaN.
            brightness: Mean, 0..255.
            seen_at: Seconds that do not run backwards.
        """
        dark = brightness < self._settings.dark_below
        vote = None if dark else self._vote(colour)
        was, self._brightness = self._brightness, brightness
        if vote is None:
            if not dark or was > _DARKENED * max(brightness, self._settings.dark_below):
                self._doubt(seen_at)
            if not dark and not math.isnan(colour):
                self._run_of = None     # neither is no agreement; the dark and the glare are no objection
            return self._unmoved(colour, seen_at, dark=dark)
        if vote != self._run_of:
            self._run_of, self._run_from, self._run_votes = vote, seen_at, 0
        self._run_votes += 1
        if vote != self._certain:
            self._doubt(seen_at)
        elif not self._doubted:
            self._learn(colour, seen_at)
        if not self._doubted or not self._agreed(vote, seen_at):
            return self._state()
        switched = vote != self._certain
        if switched:
            if self._certain is not None:
                self._switched_at = seen_at
            # What it showed the last time holds: whatever parked there overnight says little of the place.
            self._levels[vote] = min(colour, self._levels.get(vote, colour))
        self._certain, self._doubted, self._learned_at = vote, False, seen_at
        return SpectrumState(vote, switched)

    def _agreed(self, vote: Modality, seen_at: float) -> bool:
        """Whether votes have agreed for long enough."""
        if self._certain is None:
            long_s = min(_FIRST_DWELL_S, self._settings.dwell_s)
        elif vote == self._certain:
            long_s = self._settings.settle_s
        elif seen_at - self._switched_at < self._settings.apart_s:
            return False
        else:
            long_s = self._settings.dwell_s
        return self._run_votes >= _MIN_VOTES and seen_at - self._run_from >= long_s

    def _doubt(self, seen_at: float) -> None:
        if not self._doubted:
            self._doubted, self._doubted_at = True, seen_at
            if self._run_of == self._certain:
                self._run_of = None     # votes from before the doubt do not end it

    def _unmoved(self, colour: float, seen_at: float, *, dark: bool) -> SpectrumState:
        """Stay in doubt for so long, then as it was: something grey may have parked before the camera."""
        if self._doubted and self._certain is not None and seen_at - self._doubted_at >= _PATIENCE_S and (
                self._run_of is None or seen_at - self._run_from >= _PATIENCE_S):
            self._doubted, self._run_of = False, None
            if not dark and not math.isnan(colour):
                self._levels[self._certain] = colour
        return self._state()

    def _state(self) -> SpectrumState:
        return SpectrumState(None if self._doubted else self._certain, False)

    def _vote(self, colour: float) -> Modality | None:
        if math.isnan(colour):
            return None
        most, least = self._settings.infrared_below, self._settings.visible_above
        low = high = _COLOUR * most
        shown, dull = self._levels.get("visible"), self._levels.get("infrared")
        if self._certain == "visible" and shown is not None:
            # What is nearer, by ratio, to what it shows in infrared is infrared, if it fell by a third at all.
            low = min(most, max(_GREY * most, _FALLEN * shown, math.sqrt(shown * min(self._grey, shown / 2))))
            high = max(low, min(least, _KEPT * shown))
        elif self._certain == "infrared" and dull is not None:
            high = min(least, max(high, _RISEN * dull))
            low = min(most, high)
        if colour >= high:
            return "visible"
        return "infrared" if colour <= low else None

    def _learn(self, colour: float, seen_at: float) -> None:
        """Follow the chroma of what the camera certainly is: while visible, the least of it."""
        assert self._certain is not None
        level = self._levels.get(self._certain, colour)     # none after an order
        pace_s = _STEADY_S if self._certain == "infrared" else _FADING_S if colour < level else _GROWING_S
        share = 1 - math.exp(-min(seen_at - self._learned_at, _LONGEST_STEP_S) / pace_s)
        self._levels[self._certain] = level + (colour - level) * share
        if self._certain == "infrared":
            self._grey += (colour - self._grey) * share
        self._learned_at = seen_at
