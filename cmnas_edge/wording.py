"""What msgspec found wrong with a value, in this house's words: expected, found."""

from __future__ import annotations

import ast
import datetime
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["MOMENT", "either", "in_words", "is_struct", "quotes_a_pattern", "sentence", "shortened", "standing",
           "words_of"]

_LONGEST_SHOWN = 100
_REGEX = re.compile(r"""Expected `str` matching regex ('.*'|".*")(?= - at `|$)""")    # as msgspec says it

_KINDS = {"object": "a table", "array": "a list", "str": "text", "int": "a whole number", "float": "a number",
          "bool": "true or false", "null": "nothing", "datetime": "a date and time", "date": "a date alone",
          "time": "a time alone"}   # as TOML's people call them
MOMENT = "expected a date and time with the offset from UTC, as 2026-12-01T06:00:00Z"


def quotes_a_pattern(reason: str) -> bool:
    """Whether msgspec says which pattern a text breaks, and not what the text was."""
    return _REGEX.search(reason) is not None


def in_words(reason: str, kind: Any) -> str:
    """Say of a text that breaks a pattern what is allowed: `Meta` has it as ``description``, beside the pattern.

    Args:
        reason: What msgspec found wrong.
        kind: With what it was read.
    """
    if found := _REGEX.search(reason):
        pattern = ast.literal_eval(found[1])
        words = next((it.description for it in _metas(kind, set()) if it.pattern == pattern and it.description), "")
        if words:
            return f"{reason[:found.start()]}Expected {words}{reason[found.end():]}"
    return reason


def _metas(kind: Any, seen: set[Any]) -> Iterator[msgspec.Meta]:
    """Everything that is said of the values which a type is made of."""
    arms = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Annotated:
        yield from (arm for arm in arms[1:] if isinstance(arm, msgspec.Meta))
        arms = arms[:1]
    if is_struct(kind) and kind not in seen:
        seen.add(kind)
        arms = tuple(field.type for field in msgspec.structs.fields(kind))
    for arm in arms:
        yield from _metas(arm, seen)


def shortened(found: Any) -> str:
    """Quote a value, or as much of it as a sentence can hold."""
    text = repr(found.isoformat()) if isinstance(found, (datetime.date, datetime.time)) else repr(found)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def sentence(reason: str) -> str:
    """Say in this project's form what msgspec found: expected, found."""
    reason = reason.replace("`", "'")
    if missing := re.fullmatch(r"Object missing required field ('.*')", reason):
        return f"expected the key {missing[1]}, found none"
    if reason in ("Expected 'datetime' with a timezone component", "Invalid RFC3339 encoded datetime"):
        return MOMENT
    reason = reason.replace(", got ", ", found ").replace(" | null'", "'")    # what may be left out, nobody writes
    for kind, words in _KINDS.items():
        reason = reason.replace(f"'{kind}'", words)
    return reason[:1].lower() + reason[1:]


def standing(tree: Any, steps: tuple[str | int, ...]) -> Any:
    """What stands at a place; None if nothing does."""
    for step in steps:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def words_of(tree: Any, kind: Any, steps: tuple[str | int, ...]) -> list[str]:
    """The words of which one has to stand at a place; none where other things may."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    origin, arms = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return [] if steps else [str(word) for word in arms]
    if origin in (typing.Union, types.UnionType):
        tags = {arm.__struct_config__.tag: arm for arm in arms if is_struct(arm)}
        if len(tags) > 1 and steps:
            field = next(iter(tags.values())).__struct_config__.tag_field
            chosen = tags.get(standing(tree, (field,)))
            return [str(tag) for tag in tags] if steps == (field,) else words_of(tree, chosen, steps)
        each = [words_of(tree, arm, steps) for arm in arms if arm is not types.NoneType]
        return [word for some in each for word in some] if steps or all(each) else []
    if not steps:
        return []
    below, rest = standing(tree, steps[:1]), steps[1:]
    if origin in (list, tuple):
        return words_of(below, arms[0], rest)
    if origin is dict:
        return words_of(below, arms[1], rest)
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)} if is_struct(kind) else {}
    return words_of(below, fields.get(str(steps[0])), rest)


def either(words: list[str]) -> str:
    """Say of which words one is wanted."""
    return ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else words[0]


def is_struct(kind: Any) -> bool:
    """Whether it is a kind of table."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
