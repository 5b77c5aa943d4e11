"""Random numbers that are the same on every platform and with every numpy.

numpy promises that a bit generator's stream never changes, and promises nothing about the
distributions made from it. Whatever decides geometry is therefore drawn here, from raw bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 64


def generator(*key: int) -> np.random.Generator:
    """A generator that depends on the whole key and on nothing else.

    Args:
        key: Non-negative integers, such as (purpose, seed, identity, camera, k). Neighbouring
            keys give unrelated streams: they are hashed (numpy's ``SeedSequence``).

    Returns:
        A PCG64 generator at the start of its stream.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


class Draws:
    """Numbers from a generator's raw bits, one at a time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._raw = rng.bit_generator.random_raw
        self._ready: list[float] = []

    def unit(self) -> float:
        """One number in [0, 1): the top 53 of 64 bits."""
        if not self._ready:
            self._ready = ((np.asarray(self._raw(_BLOCK)) >> np.uint64(11)) * 2.0**-53).tolist()
        return self._ready.pop()

    def uniform(self, low: float, high: float) -> float:
        """One number in [low, high)."""
        return low + (high - low) * self.unit()

    def normal(self, mean: float, deviation: float) -> float:
        """One normal number (Box and Muller, 1958; the second of the pair is left)."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.unit()))
        return mean + deviation * radius * math.cos(2.0 * math.pi * self.unit())

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.unit() < probability

    def below(self, count: int) -> int:
        """One of 0 .. count - 1."""
        return int(self.unit() * count)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options; repeat an option to make it likelier."""
        return options[self.below(len(options))]
