"""How a camera with two eyes goes from day to night.

Light fades and the picture with it; then the lamps come on while the filter still lets colours through (a few
washed-out frames), the filter drops, and the gain settles in gray. Without dusk, a camera looks the same always.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cmnas_edge.embedding import Modality

FLASH_FRAMES: Final = 2  # the last ones in visible light
SETTLE_FRAMES: Final = 4  # the first ones in infrared
_FADE_S: Final = 20.0
_FADE_STEPS: Final = 40  # a background is made anew at each
_LAST_LIGHT: Final = 0.4  # exposure left before the lamps come on
_SETTLING: Final = (2.6, 1.9, 1.45, 1.15)


@dataclass(frozen=True)
class Look:
    """How a camera sees at one moment."""

    modality: Modality
    exposure: float = 1.0  # factor on gathered light
    saturation: float = 1.0
    noise: float = 1.0  # factor
    wash: float = 0.0  # share of white


def look(index: int, fps: float, infrared_from: int | None) -> Look:
    """What a camera looks like at a frame.

    Args:
        index: Of the frame.
        fps: Frames per second.
        infrared_from: First frame in infrared: None for never, 0 or less for always, without a transition.

    Returns:
        The look; all frames from ``infrared_from`` on are infrared, all before are visible.
    """
    if infrared_from is None:
        return Look("visible")
    since = index - infrared_from
    if infrared_from <= 0 or since >= SETTLE_FRAMES:
        return Look("infrared")
    if since >= 0:
        return Look("infrared", exposure=_SETTLING[since])
    if since >= -FLASH_FRAMES:
        return Look("visible", exposure=1.6, saturation=0.5, noise=1.5, wash=0.55)
    faded = max(0.0, 1 + (since + FLASH_FRAMES) / (_FADE_S * fps))
    faded = round(faded * _FADE_STEPS) / _FADE_STEPS
    return Look(
        "visible",
        exposure=_LAST_LIGHT**faded,
        saturation=1 - 0.35 * faded,
        noise=1 + round(faded * 4) / 4,
    )
