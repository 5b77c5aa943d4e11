"""Dusks drawn as a camera would send them, with the truth about its filter: for tests and `benchmarks.dusk`.

The scene and its people are those of `cmnas_edge.synthetic`, seen once in visible light and once in infrared. What the
camera does with the two (filter, gain, noise, white balance, a stream that stays in colour) is a function of time, a
`Moment`; H.264 is a real encoder's. Nothing here is footage of a real infrared camera.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cmnas_edge.embedding import Modality
from cmnas_edge.synthetic.scene import Scene
from cmnas_edge.synthetic.site import Site

__all__ = ["DUSKS", "FPS", "Drawn", "Dusk", "Moment", "Stage", "coded"]

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

FPS: Final = 10.0
_GAMMA: Final = 2.2
# What a colour sensor makes of 850 nm: its dyes let about as much through in red, green and blue.
_DYES: Final = np.array([0.92, 0.88, 1.0], np.float32)
_DAYLIGHT: Final = np.array([1.6, 1.0, 1.9], np.float32)    # white balance that was right while the filter was in
_MATRIX: Final = np.array([[1.55, -0.45, -0.10], [-0.25, 1.50, -0.25], [-0.10, -0.45, 1.55]], np.float32)
_SODIUM: Final = np.array([0.12, 0.62, 1.0], np.float32)


@dataclass(frozen=True)
class Moment:
    """What a camera does with light at one moment.

    Attributes:
        filter_in: The infrared filter is in its place: the picture is visible light's, whatever it looks like.
        exposure: Factor on gathered light.
        saturation: Of the picture, 0 for none.
        noise: Standard deviation in levels of 255, of each colour by itself; a grey stream has one for all.
        wash: Share of white laid over everything.
        colour_stream: The filter is out but colours are still made of what comes: purple.
        leak: Visible light that comes in beside infrared, relative to daylight.
        lamp: A white lamp's cone over a dark scene, 0 for none.
        sodium: Light of one hue only.
    """

    filter_in: bool = True
    exposure: float = 1.0
    saturation: float = 1.0
    noise: float = 1.0
    wash: float = 0.0
    colour_stream: bool = False
    leak: float = 0.0
    lamp: float = 0.0
    sodium: bool = False


class Drawn(NamedTuple):
    """A picture and the truth about it."""

    image: U8
    at_s: float
    truth: Modality


@dataclass(frozen=True)
class Dusk:
    """What happens over some time.

    Attributes:
        seconds: How long it takes.
        moment: What the camera does, by seconds from the start.
        colour: Share of its colour that the scene has; people keep theirs.
        light: Factor on the scene's light, as of snow.
        about: One line for people.
        moves: When the filter moved for good: the switches that are to be told.
    """

    seconds: float
    moment: Callable[[float], Moment]
    about: str
    moves: tuple[float, ...] = ()
    colour: float = 1.0
    light: float = 1.0


def _part(at_s: float, from_s: float, to_s: float) -> float:
    return min(max((at_s - from_s) / (to_s - from_s), 0.0), 1.0)


def _fading(at_s: float, from_s: float = 5.0, to_s: float = 38.0) -> Moment:
    """Daylight goes, gain and noise come, and colours are turned down, as cameras do."""
    gone = _part(at_s, from_s, to_s)
    return Moment(exposure=0.2 ** gone, saturation=1 - 0.5 * gone, noise=1 + 4 * gone)


def _infrared(since_s: float, **changes: object) -> Moment:
    """Lamps are on and the gain finds itself."""
    too_bright = 1 + 1.6 * max(0.0, 1 - since_s / 0.6)
    return replace(Moment(filter_in=False, exposure=too_bright, noise=3.0), **changes)  # type: ignore[arg-type]


def _night(at_s: float, **changes: object) -> Moment:
    """Dusk at 40 s, with the lamps on a moment before the filter moves."""
    if at_s >= 40:
        return _infrared(at_s - 40, **changes)
    moment = _fading(at_s)
    return replace(moment, wash=0.55, saturation=0.4) if at_s >= 39.7 else moment


def _flash(at_s: float) -> Moment:
    return replace(_night(at_s), wash=0.98) if 38.4 <= at_s < 40.3 else _night(at_s)


def _dawn(at_s: float) -> Moment:
    if at_s < 20:
        return _infrared(at_s + 10)
    come = _part(at_s, 20, 50)
    return Moment(exposure=0.2 ** (1 - come), saturation=0.5 + 0.5 * come, noise=5 - 4 * come)


def _there_and_back(at_s: float) -> Moment:
    return _infrared(at_s - 20) if 20 <= at_s < 50 else Moment()


def _flapping(at_s: float, period_s: float, until_s: float) -> Moment:
    """The filter goes to and fro, seen by the light of its own lamps; then it stays out."""
    out = at_s >= until_s or (at_s >= 20 and int((at_s - 20) / period_s) % 2 == 0)
    return _infrared((at_s - 20) % period_s if at_s < until_s else 9.0) if out else _fading(38.0)


def _headlights(at_s: float, moment: Moment) -> Moment:
    """A car every 8 s lights everything up for 1 to 3.5 s."""
    lasts_s = 1 + (at_s // 8 % 3) * 1.25
    return replace(moment, wash=0.9 * math.sin(math.pi * (at_s % 8) / lasts_s)) if at_s % 8 < lasts_s else moment


def _lamps_out(at_s: float) -> Moment:
    """A room whose light is off for half a minute."""
    return Moment(exposure=0.0008, noise=1.5) if 20 <= at_s < 50 else Moment()


DUSKS: Final = {
    "dusk": Dusk(60, _night, "light fades, lamps come on, the filter moves", (40,)),
    "dawn": Dusk(60, _dawn, "the filter comes back in little light", (20,)),
    "flash": Dusk(60, _flash, "nearly white for 1.9 s around the move", (40,)),
    "flapping": Dusk(75, lambda at_s: _flapping(at_s, 1.5, 45), "to and fro every 1.5 s, then out", (45,)),
    "slow flapping": Dusk(75, lambda at_s: _flapping(at_s, 4.0, 28), "out, back and out again, 4 s each", (20,)),
    "headlights, visible": Dusk(50, lambda at_s: _headlights(at_s, _fading(at_s)), "cars, before the filter moves"),
    "headlights, infrared": Dusk(50, lambda at_s: _headlights(at_s, _infrared(9.0)), "cars, in infrared"),
    "purple": Dusk(60, lambda at_s: _night(at_s, colour_stream=True), "no filter, the stream stays in colour", (40,)),
    "purple and daylight": Dusk(60, lambda at_s: _night(at_s, colour_stream=True, leak=0.1),
                                "the same, with a tenth of the day's light", (40,)),
    "white lamp": Dusk(60, lambda at_s: replace(_fading(at_s), exposure=1.0, lamp=1.0) if at_s >= 40 else _fading(at_s),
                       "a white lamp comes on; still visible"),
    "sodium lamp": Dusk(60, lambda at_s: replace(_fading(at_s), sodium=True, exposure=0.5) if at_s >= 40
                        else _fading(at_s), "a lamp of one hue comes on; still visible"),
    "snow": Dusk(60, lambda _: Moment(), "an almost colourless day", colour=0.06, light=1.3),
    "snow, a night": Dusk(80, _there_and_back, "the same, with a night of 30 s", (20, 50),
                          colour=0.06, light=1.3),
    "lamps out": Dusk(70, _lamps_out, "a room, dark for 30 s; still visible"),
}


class Stage:
    """One camera's place, in both bands, with the same people in them."""

    def __init__(self, seed: int, seconds: float, people: int = 2, fps: float = FPS) -> None:
        """Draw a place and let people walk through it; with ``people = 0`` nobody comes."""
        site = Site.draw(seed, max(people, 1), ("dual",), max(seconds, 2.0), fps)
        camera, walks = site.cameras[0], site.walks if people else ()

        def scene(infrared_from: int | None) -> Scene:
            return Scene(site.seed, camera.number, site.lenses[0], site.people, walks, fps=fps,
                         infrared_from=infrared_from)

        self.fps = fps
        self._visible, self._infrared = scene(None), scene(0)
        self._rng = np.random.default_rng((seed, 5))

    def film(self, dusk: Dusk, start_s: float = 0.0, end_s: float | None = None) -> Iterator[Drawn]:
        """Film a dusk, or a part of it."""
        last = round((dusk.seconds if end_s is None else end_s) * self.fps)
        for index in range(round(start_s * self.fps), last):
            at_s = index / self.fps
            moment = dusk.moment(at_s)
            yield Drawn(self.draw(index, moment, dusk), at_s, "visible" if moment.filter_in else "infrared")

    def draw(self, index: int, moment: Moment, dusk: Dusk) -> U8:
        """Draw one frame, ``(360, 640, 3)``."""
        if moment.filter_in:
            light = _lit(self._coloured(index, dusk), moment)
        elif not moment.colour_stream:
            return np.asarray(cv2.cvtColor(self._grey(index, moment), cv2.COLOR_GRAY2BGR), np.uint8)
        else:
            light = _linear(self._infrared.draw(index)) * _DYES
            light += np.float32(moment.leak) * _linear(self._coloured(index, dusk))
            light *= _DAYLIGHT * np.float32(moment.exposure / 1.5)
            light = np.maximum(cv2.transform(light, _MATRIX), 0)
        return self._sensed(light, moment)

    def _coloured(self, index: int, dusk: Dusk) -> U8:
        picture = self._visible.draw(index)
        if dusk.colour == 1 and dusk.light == 1:
            return picture
        grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        pale = cv2.addWeighted(picture, dusk.colour, grey, 1 - dusk.colour, 0)
        pale = cv2.convertScaleAbs(pale, alpha=dusk.light)
        for one in self._visible.figures(index):
            body = (one.labels > 0)[..., None]
            part = pale[one.rows, one.columns]
            part[:] = np.where(body, picture[one.rows, one.columns], part)
        return np.asarray(pale, np.uint8)

    def _grey(self, index: int, moment: Moment) -> U8:
        light = _linear(self._infrared.draw(index)[..., 0]) * np.float32(moment.exposure)
        signal = 255 * np.minimum(light, 1) ** np.float32(1 / _GAMMA)
        signal += np.float32(moment.wash) * (255 - signal)
        signal += self._rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(moment.noise)
        return np.asarray(np.clip(signal, 0, 255), np.uint8)

    def _sensed(self, light: F32, moment: Moment) -> U8:
        signal = 255 * np.minimum(light, 1) ** np.float32(1 / _GAMMA)
        if moment.saturation != 1:
            grey = signal.mean(2, keepdims=True)
            signal = grey + np.float32(moment.saturation) * (signal - grey)
        signal += np.float32(moment.wash) * (255 - signal)
        signal += self._rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(moment.noise)
        return np.asarray(np.clip(signal, 0, 255), np.uint8)


def _linear(picture: U8) -> F32:
    table = (np.arange(256, dtype=np.float32) / 255) ** np.float32(_GAMMA)
    return np.asarray(cv2.LUT(picture, table), np.float32)


def _lit(picture: U8, moment: Moment) -> F32:
    light = _linear(picture) * np.float32(moment.exposure)
    if moment.sodium:
        light = light.mean(2, keepdims=True) * _SODIUM
    if moment.lamp:
        height, width = picture.shape[:2]
        y, x = np.mgrid[-1:1:height * 1j, -1:1:width * 1j].astype(np.float32)
        cone = 0.03 + np.float32(moment.lamp) * np.exp(-2.5 * (x ** 2 + (y - 0.2) ** 2))
        light *= cone[..., None]
    return np.asarray(light, np.float32)


def coded(pictures: Iterable[U8], crf: int, fps: float = FPS, *, rounded: bool = False) -> Iterator[U8]:
    """Give pictures as they come out of a camera's H.264 stream, in order, as many as went in.

    Args:
        pictures: All of one size.
        crf: Quality: 20 is good, 28 what cameras send, 40 poor.
        fps: Frames per second.
        rounded: Send grey as software does that knows only colours, which leaves a tint of a level or two;
            else as a camera's night mode: brightness, and no colour at all.
    """
    import av  # noqa: PLC0415 - an extra

    encoder: Any = None
    decoder: Any = av.CodecContext.create("h264", "r")
    for picture in pictures:
        if encoder is None:
            encoder = av.CodecContext.create("libx264", "w")
            encoder.height, encoder.width = picture.shape[:2]
            encoder.pix_fmt = "yuv420p"
            encoder.framerate = Fraction(fps).limit_denominator(1000)
            encoder.thread_count = decoder.thread_count = 1
            encoder.time_base = 1 / encoder.framerate
            encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency", "g": str(round(2 * fps))}
        for packet in encoder.encode(_sent(picture, rounded=rounded)):
            yield from (frame.to_ndarray(format="bgr24") for frame in decoder.decode(packet))
    if encoder is not None:
        for packet in [*encoder.encode(None), None]:
            yield from (frame.to_ndarray(format="bgr24") for frame in decoder.decode(packet))


def _sent(picture: U8, *, rounded: bool) -> Any:
    import av  # noqa: PLC0415 - an extra

    grey = picture[..., 0]
    if rounded or (grey != picture[..., 1]).any() or (grey != picture[..., 2]).any():
        return av.VideoFrame.from_ndarray(picture, format="bgr24")
    colourless = np.full((grey.shape[0] // 2, grey.shape[1]), 128, np.uint8)
    luma = np.rint(16 + grey.astype(np.float32) * (219 / 255)).astype(np.uint8)
    return av.VideoFrame.from_ndarray(np.concatenate([luma, colourless]), format="yuv420p")
