"""What changes as a run goes on: the learning rate, and how much of the task is in.

Everything is counted in steps. A published recipe that counts epochs says how many steps one of its
epochs has in ``Rates.hold``, and holds each rate as long.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec

__all__ = ["Curriculum", "Rates"]

_Steps = Annotated[int, msgspec.Meta(ge=0)]


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A learning rate for every step: linear warm-up, then half a cosine down to zero, or drops.

    Attributes:
        rate: At the end of the warm-up.
        warm_up: Steps until it is reached.
        warm_up_from: Share of ``rate`` that step 0 has; 0 begins with the first step's worth of the way, or,
            where rates are held, with the first epoch's.
        drops: Steps at which the rate falls to a tenth; without any it follows a cosine.
        hold: Steps over which a rate stays what it was at the first of them: the length of an epoch.
    """

    rate: Annotated[float, msgspec.Meta(gt=0)] = 3e-3
    warm_up: _Steps = 200
    warm_up_from: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    drops: tuple[_Steps, ...] = ()
    hold: Annotated[int, msgspec.Meta(ge=1)] = 1

    def at(self, step: int, steps: int) -> float:
        """The rate of a step, the first being 0, of a schedule that has ``steps``; the cosine ends at zero there."""
        step -= step % self.hold
        warm = 1.0
        if self.warm_up:
            first = self.warm_up_from
            warm = first + (1 - first) * step / self.warm_up if first else (step + self.hold) / self.warm_up
        rate = self.rate * min(1.0, warm)
        if self.drops:
            return rate * 0.1 ** sum(step >= drop for drop in self.drops)
        done = max(0.0, (step - self.warm_up) / max(1, steps - self.warm_up))
        return rate * 0.5 * (1 + math.cos(math.pi * done))


class Curriculum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Begin with few people and undisturbed crops, then grow to all of them at full strength.

    A small network that starts from nothing finds no gradient to follow among a thousand
    people seen through every disturbance at once: its embedding shrinks until its ReLU dies.

    Attributes:
        identities: People at the start; 0 starts with everything.
        hold: Steps before it grows.
        grow: Steps until everything is in.
    """

    identities: _Steps = 0
    hold: _Steps = 0
    grow: _Steps = 0

    def share(self, step: int) -> float:
        """How much of the way from the start to everything is done, 0 to 1."""
        if not self.identities or step >= self.hold + self.grow:
            return 1.0
        return max(0.0, (step - self.hold) / max(1, self.grow))
