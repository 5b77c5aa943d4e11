"""What any question may say, and why one is not answered."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

__all__ = ["Id", "Limit", "Nothing", "Problem", "Reason", "Unanswerable"]


class Unanswerable(Exception):
    """A question that cannot be answered, with the HTTP status that says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


Reason = Annotated[str, Meta(max_length=500)]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """A question without parameters."""


class Problem(Struct, frozen=True):
    """Why a request was not answered, in one sentence."""

    error: str
