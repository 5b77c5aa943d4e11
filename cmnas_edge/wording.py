"""What msgspec found wrong with a value, in this house's words: what was expected, what was found, what to do."""

from __future__ import annotations

import ast
import datetime
import difflib
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["fault", "in_words", "shortened", "unknown_key"]

Steps = tuple[str | int, ...]   # keys and places in lists that lead somewhere
_LONGEST_SHOWN = 100
_REGEX = re.compile(r"""Expected `str` matching regex ('.*'|".*")(?= - at `|$)""")    # as msgspec says it

_KINDS = {"array": "a list", "str": "text", "int": "a whole number", "float": "a number",
          "bool": "true or false", "null": "nothing", "datetime": "a date and time", "date": "a date alone",
          "time": "a time alone"}   # as TOML's people call them
_MOMENT = "expected a date and time with the offset from UTC, as 2026-12-01T06:00:00Z"


def fault(error: msgspec.ValidationError, tree: Any, kind: Any, *, table: str = "a table", quoted: bool = False
          ) -> tuple[Steps, str]:
    """Say what is wrong with a value of the wrong kind.

    Args:
        error: What msgspec found.
        tree: The whole that was read, of plain values.
        kind: As what it was read.
        table: What those who wrote it call a value with keys.
        quoted: Whether to show text that is no text by itself, where all values come as text.

    Returns:
        Where it stands; and what was expected there, what was found, and what to do.
    """
    reason, _, spot = str(error).partition(" - at `$")
    spots = re.finditer(r"\.?([\w-]+)|\[(\d+)\]", spot.rstrip("`"))
    steps = tuple(int(part[2]) if part[2] else part[1] for part in spots)
    at = f" at {_dotted(steps)}" if steps else ""
    found, words = _standing(tree, steps), _words_of(tree, kind, steps)
    said = _sentence(in_words(reason, kind), table)
    if words:
        near = difflib.get_close_matches(str(found), words, n=1, cutoff=0.5)
        then = f"did you mean {near[0]!r}?" if near else "correct it"
        return steps, f"expected {_either(words)}{at}, found {shortened(found)}; {then}"
    if re.fullmatch("expected a (whole )?number [<>]=? .*", said) or said == _MOMENT or _quotes_a_pattern(reason):
        said += f", found {shortened(found)}"    # which msgspec leaves out
    elif re.fullmatch("expected (text|a list) of length .*", said):
        said += f", found {len(found)}"
    elif quoted and isinstance(found, str):
        said = said.removesuffix("text") + shortened(found)
    return steps, f"{said}{at}; correct it"


def unknown_key(tree: Any, kind: Any) -> tuple[Steps, str] | None:
    """Say which key no field of a kind takes, where it stands, and which was meant perhaps; None: there is none."""
    for where, key, known in _unknown_keys(tree, kind, ()):
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = (f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}" if known
                else "none is known here")
        return (*where, key), f"unknown key {shortened(key)}{f' in [{_dotted(where)}]' if where else ''}; {hint}"
    return None


def _quotes_a_pattern(reason: str) -> bool:
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
    if _is_struct(kind) and kind not in seen:
        seen.add(kind)
        arms = tuple(field.type for field in msgspec.structs.fields(kind))
    for arm in arms:
        yield from _metas(arm, seen)


def shortened(found: Any) -> str:
    """Quote a value, or as much of it as a sentence can hold."""
    if found is None or isinstance(found, bool):
        return {None: "nothing", True: "true", False: "false"}[found]
    text = repr(found.isoformat()) if isinstance(found, (datetime.date, datetime.time)) else repr(found)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _sentence(reason: str, table: str) -> str:
    """Say in this project's form what msgspec found: expected, found."""
    reason = reason.replace("`", "'")
    if missing := re.fullmatch(r"Object missing required field ('.*')", reason):
        return f"expected the key {missing[1]}, found none"
    if reason in ("Expected 'datetime' with a timezone component", "Invalid RFC3339 encoded datetime"):
        return _MOMENT
    reason = reason.replace(", got ", ", found ").replace(" | null'", "'")    # what may be left out, nobody writes
    for kind, words in {**_KINDS, "object": table}.items():
        reason = reason.replace(f"'{kind}'", words)
    return reason[:1].lower() + reason[1:]


def _standing(tree: Any, steps: Steps) -> Any:
    """What stands at a place; None if nothing does."""
    for step in steps:
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _words_of(tree: Any, kind: Any, steps: Steps) -> list[str]:
    """The words of which one has to stand at a place; none where other things may."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    origin, arms = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return [] if steps else [str(word) for word in arms]
    if origin in (typing.Union, types.UnionType):
        tags = {arm.__struct_config__.tag: arm for arm in arms if _is_struct(arm)}
        if len(tags) > 1 and steps:
            field = next(iter(tags.values())).__struct_config__.tag_field
            chosen = tags.get(_standing(tree, (field,)))
            return [str(tag) for tag in tags] if steps == (field,) else _words_of(tree, chosen, steps)
        each = [_words_of(tree, arm, steps) for arm in arms if arm is not types.NoneType]
        return [word for some in each for word in some] if steps or all(each) else []
    if not steps:
        return []
    below, rest = _standing(tree, steps[:1]), steps[1:]
    if origin in (list, tuple):
        return _words_of(below, arms[0], rest)
    if origin is dict:
        return _words_of(below, arms[1], rest)
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)} if _is_struct(kind) else {}
    return _words_of(below, fields.get(str(steps[0])), rest)


def _either(words: list[str]) -> str:
    """Say of which words one is wanted."""
    return ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else words[0]


def _is_struct(kind: Any) -> bool:
    """Whether it is a kind of table."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _unknown_keys(tree: Any, kind: Any, where: Steps) -> Iterator[tuple[Steps, str, list[str]]]:
    """Yield (table, key, known keys) for each key that no field of ``kind`` takes."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        structs = [arm for arm in typing.get_args(kind) if _is_struct(arm)]
        if len(structs) > 1 and isinstance(tree, dict):  # a tag says which one is meant
            structs = [arm for arm in structs if tree.get(arm.__struct_config__.tag_field) == arm.__struct_config__.tag]
        if len(structs) == 1:
            yield from _unknown_keys(tree, structs[0], where)
        return
    if origin in (list, tuple) and isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _unknown_keys(item, typing.get_args(kind)[0], (*where, index))
    elif origin is dict and isinstance(tree, dict):
        for key, item in tree.items():
            yield from _unknown_keys(item, typing.get_args(kind)[1], (*where, key))
    elif _is_struct(kind) and isinstance(tree, dict):
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        for key, item in tree.items():
            if key in fields:
                yield from _unknown_keys(item, fields[key], (*where, key))
            elif key != kind.__struct_config__.tag_field and kind.__struct_config__.forbid_unknown_fields:
                yield where, key, list(fields)


def _dotted(steps: Steps) -> str:
    return "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps).lstrip(".")
