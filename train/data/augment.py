"""What a batch goes through before the network sees it, on uint8 images.

Boxes on a real camera are loose, cut or shifted: ``loosen`` moves, zooms and mirrors a
crop in one resampling. ``erase`` hides a rectangle (Zhong et al., Random Erasing, AAAI
2020). ``exchange`` takes colour away from visible crops (Ye et al., Channel Augmented
Joint Learning, ICCV 2021, here with any convex mix of the channels, of which theirs are
the corners), because near-infrared reflectance follows dye, not colour. ``tone`` redraws
exposure and gamma.

Published recipes do some of it in another way, which `Augmentation` can be told to follow:
``pad`` and a random crop back, rectangles as `train.data.erasing` draws them, and one channel
for all three as `train.data.channels` does. Those come in the published order: cut, mirror,
erase, channels.
"""

from __future__ import annotations

import random
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np

from train.data import channels, erasing
from train.data.crops import U8, Mask

__all__ = ["Augmentation", "augment", "erase", "exchange", "loosen", "pad", "tone"]

_Chance = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How strongly a training batch is disturbed; everything at 0 changes nothing.

    Attributes:
        flip: Probability of a mirror image.
        pad: Black pixels put around a crop before one of its own size is cut out again
            anywhere; CM-NAS, AGW and CAJ take 10.
        shift: Largest shift of the box, as a share of its height and width.
        zoom_out: Largest enlargement of the box (0.3: a box 1.3 times as high and wide).
        zoom_in: Largest shrinkage of the box (0.1: a box 0.9 times as high and wide).
        stretch: Largest change of height against width, as a share.
        erase: Probability that a rectangle is hidden.
        erase_area: Largest share of the image that it covers; 0.4 in the published recipes.
        erase_as: ``any`` is a flat grey or noise under a rectangle of any shape. The others
            draw it as published, and fill it with the ``mean`` pixel, or with what CM-NAS
            (``cm-nas``) or CAJ (``caj``) fill it with; see `train.data.erasing`.
        exchange: Probability that a visible crop loses its colours.
        exchange_as: ``mix`` is any convex mix of the channels; ``channel`` one of the three,
            as CAJ does; ``grey`` one of the three or their luma; see `train.data.channels`.
        exchange_infrared: Probability that an infrared crop is given a channel, its luma or
            nothing new, as CAJ does to all of them (1).
        tone: Spread of exposure and gamma, as a factor's logarithm.

    Raises:
        ValueError: ``erase_area`` is less than is ever hidden as published.
    """

    flip: _Chance = 0.5
    pad: Annotated[int, msgspec.Meta(ge=0)] = 0
    shift: float = 0.06
    zoom_out: float = 0.25
    zoom_in: float = 0.1
    stretch: float = 0.08
    erase: _Chance = 0.4
    erase_area: _Chance = 0.25
    erase_as: Literal["any", "mean", "cm-nas", "caj"] = "any"
    exchange: _Chance = 0.5
    exchange_as: Literal["mix", "channel", "grey"] = "mix"
    exchange_infrared: _Chance = 0.0
    tone: Annotated[float, msgspec.Meta(ge=0)] = 0.15

    def __post_init__(self) -> None:
        if self.erase_as != "any" and self.erase_area < erasing.LEAST_AREA:
            raise ValueError(f"erase_area: expected at least {erasing.LEAST_AREA}, the least that is hidden as "
                             f"published, found {self.erase_area:g}")

    def require_smaller(self, height: int, width: int) -> None:
        """Make sure that crops of a size can be padded so.

        Raises:
            ValueError: One could come out all black.
        """
        if self.pad >= min(height, width):
            raise ValueError(f"augmentation.pad: expected less than a crop's height and width, {height} and {width}, "
                             f"found {self.pad}; a crop could come out all black")

    def scaled(self, share: float) -> Augmentation:
        """The same at a share of its strength; a mirror image is as likely as before."""
        return msgspec.structs.replace(
            self, pad=round(self.pad * share), shift=self.shift * share, zoom_out=self.zoom_out * share,
            zoom_in=self.zoom_in * share, stretch=self.stretch * share, erase=self.erase * share,
            exchange=self.exchange * share, exchange_infrared=self.exchange_infrared * share, tone=self.tone * share)


def augment(images: U8, infrared: Mask, how: Augmentation, rng: np.random.Generator) -> U8:
    """Disturb a batch.

    Args:
        images: BGR, shape ``(n, h, w, 3)``; left as it is.
        infrared: Modality of each row, shape ``(n,)``.
        how: How strongly.
        rng: Source of every choice.

    Returns:
        A new array of the same shape.

    Raises:
        ValueError: ``pad`` is too much for images of this size.
    """
    # Whatever is switched off draws nothing, so that a recipe sees the same crops in every release.
    out = loosen(pad(images, how.pad, rng) if how.pad else images, how, rng)
    colourless = ~infrared & (rng.random(len(out)) < how.exchange)
    if how.exchange_as == "mix":
        exchange(out, colourless, rng)
    tone(out, how.tone, rng)
    if how.erase_as == "any":
        erase(out, how.erase, how.erase_area, rng)
    elif how.erase:
        dice = random.Random(int(rng.integers(1 << 62)))
        erasing.erase(out, dice, how.erase, how.erase_area, erasing.FILLS[how.erase_as])
    if how.exchange_as != "mix":
        channels.exchange(out, colourless, rng, grey=how.exchange_as == "grey")
    if how.exchange_infrared:
        channels.adapt(out, infrared & (rng.random(len(out)) < how.exchange_infrared), rng)
    return out


def pad(images: U8, k: int, rng: np.random.Generator) -> U8:
    """Put k black pixels around each crop and cut one of its own size out of that, anywhere.

    Raises:
        ValueError: A crop could come out all black.
    """
    n, h, w, _ = images.shape
    if k >= min(h, w):
        raise ValueError(f"pad: expected fewer black pixels than a crop of {h}x{w} has, found {k}")
    out = np.zeros_like(images)
    # A cut that begins s pixels below the middle shows the crop s pixels higher.
    for i, (down, right) in enumerate(rng.integers(-k, k + 1, (n, 2)).tolist()):
        out[i, max(0, -down):h - max(0, down), max(0, -right):w - max(0, right)] = (
            images[i, max(0, down):h - max(0, -down), max(0, right):w - max(0, -right)])
    return out


def loosen(images: U8, how: Augmentation, rng: np.random.Generator) -> U8:
    """Shift, zoom, stretch and mirror each crop, as a box drawn less exactly would show it."""
    n, h, w, _ = images.shape
    out = np.empty_like(images)
    zoom = 1 + rng.uniform(-how.zoom_in, how.zoom_out, n)
    aspect = np.exp(rng.uniform(-how.stretch, how.stretch, n) / 2)
    high, wide = zoom * aspect, zoom / aspect
    dx, dy = w * rng.uniform(-how.shift, how.shift, n), h * rng.uniform(-how.shift, how.shift, n)
    mirror = np.where(rng.random(n) < how.flip, -1.0, 1.0)
    border, fill = rng.integers(0, 3, (n,)), rng.integers(0, 256, (n,)).astype(float)
    if not (how.shift or how.zoom_in or how.zoom_out or how.stretch):  # mirrored at most: nothing to resample
        for i in range(n):
            if mirror[i] < 0:
                cv2.flip(images[i], 1, dst=out[i])
            else:
                out[i] = images[i]
        return out
    centre_x, centre_y = (w - 1) / 2, (h - 1) / 2
    for i in range(n):
        a = mirror[i] * wide[i]
        # Pixel (x, y) of the result shows (a x + b, c y + d) of the crop: WARP_INVERSE_MAP.
        turn = np.array([[a, 0, centre_x - a * centre_x + dx[i]],
                         [0, high[i], centre_y - high[i] * centre_y + dy[i]]])
        # What lies beyond the crop is unknown: continue it, mirror it, or leave it flat.
        mode = (cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101, cv2.BORDER_CONSTANT)[border[i]]
        cv2.warpAffine(images[i], turn, (w, h), dst=out[i], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                       borderMode=mode, borderValue=(fill[i], fill[i], fill[i]))
    return out


def exchange(images: U8, chosen: Mask, rng: np.random.Generator) -> None:
    """Replace the colours of the chosen rows, in place, by one random mix of their channels."""
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return
    # Half of the mixes are single channels (the paper's), half lie anywhere between them.
    weights = rng.dirichlet((1.0, 1.0, 1.0), len(rows))
    single = rng.random(len(rows)) < 0.5
    weights[single] = np.eye(3)[rng.integers(0, 3, int(single.sum()))]
    for row, mix in zip(rows, weights, strict=True):
        grey = cv2.transform(images[row], mix[None])
        images[row] = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


def tone(images: U8, spread: float, rng: np.random.Generator) -> None:
    """Redraw exposure and gamma of each row, in place."""
    if spread <= 0:
        return
    gain = np.exp(rng.normal(0, spread, len(images)))
    gamma = np.exp(rng.normal(0, spread, len(images)))
    level = np.arange(256) / 255
    tables = np.clip(255 * gain[:, None] * level[None] ** gamma[:, None] + 0.5, 0, 255).astype(np.uint8)
    for image, table in zip(images, tables, strict=True):
        cv2.LUT(image, table, dst=image)


def erase(images: U8, probability: float, area: float, rng: np.random.Generator) -> None:
    """Hide a rectangle of some rows, in place, under a flat grey level or noise."""
    n, h, w, _ = images.shape
    for row in np.flatnonzero(rng.random(n) < probability):
        share, ratio = rng.uniform(min(0.02, area), area), np.exp(rng.uniform(-1.2, 1.2))
        eh = int(np.clip(round(np.sqrt(share * ratio) * h), 1, h))
        ew = int(np.clip(round(np.sqrt(share / ratio) * w), 1, w))
        y, x = rng.integers(0, h - eh + 1), rng.integers(0, w - ew + 1)
        if rng.random() < 0.5:
            images[row, y:y + eh, x:x + ew] = rng.integers(0, 256)
        else:
            images[row, y:y + eh, x:x + ew] = rng.integers(0, 256, (eh, ew, 1), dtype=np.uint8)
