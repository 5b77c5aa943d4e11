"""Settings: a TOML file becomes a frozen struct, or one sentence that says why not.

Every settings struct in the house is a ``msgspec.Struct`` with ``frozen=True`` and
``forbid_unknown_fields=True``, so a typo is refused instead of ignored. A relative path in
a file means *relative to that file*. Secrets never stand in settings: a setting names the
file that holds one (`cmnas_edge.private`).
"""

from __future__ import annotations

import ipaddress
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cmnas_edge.errors import ConfigError
from cmnas_edge.log import scrub
from cmnas_edge.private import handed
from cmnas_edge.wording import fault, shortened, unknown_key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["address", "keys", "load", "located", "place", "read", "show"]

T = TypeVar("T")
_LARGEST = 1 << 20  # bytes; a thousand cameras take less
_KEY = re.compile(r"""\s*(?P<key>[\w"'.-]+)\s*=""")
_HEADER = re.compile(r"""\s*(?P<open>\[{1,2})\s*(?P<name>[\w"'.-]+)\s*\]{1,2}""")


def load(path: Path, kind: type[T]) -> T:
    """Read settings of one kind.

    Args:
        path: A TOML file.
        kind: A frozen ``msgspec.Struct``. One that forbids unknown fields is the whole file; one
            that does not reads a part of it. ``Path`` fields are resolved against the file's folder.

    Raises:
        ConfigError: The file is missing or cannot be read (`read`), is not TOML, has an unknown key (the nearest valid
            one is named), lacks a required one, or holds a value of the wrong kind.
    """
    try:
        text = read(path)
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: expected settings, found brackets nested without end; remove them") from None
    if found := unknown_key(tree, kind):
        steps, said = found
        raise ConfigError(f"{path}{_line_of(text, steps)}: {said}")
    folder = path.resolve().parent

    def hook(wanted: type, value: Any) -> Any:
        if wanted is Path and isinstance(value, str):
            return located(folder, value)
        found = {"dict": "object", "list": "array"}.get(type(value).__name__, type(value).__name__)  # its words
        raise TypeError(f"Expected `{'str' if wanted is Path else wanted.__name__}`, got `{found}`")

    try:
        return msgspec.convert(tree, kind, dec_hook=hook)
    except msgspec.ValidationError as error:
        steps, said = fault(error, tree, kind)
        raise ConfigError(f"{path}{_line_of(text, steps)}: {said}") from None


def read(path: Path) -> str:
    """Read a settings file's text, there or in the copy that systemd hands over.

    Raises:
        ConfigError: There is none, it cannot be read, it is no file, or larger than any settings are.
    """
    there = handed(path)
    try:
        mode = there.stat().st_mode     # before a byte is read: a pipe would be waited for, and a device never ends
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ConfigError(f"{path}: expected a settings file, found a device, pipe or socket; name a file")
        with there.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ConfigError(f"{path}: expected a settings file of at most {_LARGEST >> 20} MiB, found more; name "
                              "another file")
        return data.decode("utf-8-sig")     # some editors put a byte order mark in front
    except FileNotFoundError:
        raise ConfigError(f"{path}: expected a settings file, found none; name one that exists") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path and its mode") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text, found other bytes; save it as UTF-8") from None


def show(settings: msgspec.Struct) -> str:
    """Print effective settings as TOML, credentials in URLs replaced by ``***``."""
    tree = msgspec.to_builtins(settings, enc_hook=str)
    return scrub("\n".join(_toml(tree, ())).strip()) + "\n"


def place(path: Path, *steps: str | int) -> str:
    """Say where a setting stands, for the front of a message: ``gate.toml: line 7``.

    Args:
        path: The settings file.
        steps: Keys and places in lists that lead to it; of those that end in nothing, as far as they lead.
    """
    try:
        text = read(path)
    except ConfigError:     # it has been read a moment ago
        return str(path)
    found = next((line for end in range(len(steps), 0, -1) if (line := _line_of(text, steps[:end]))), "")
    return f"{path}{found}"


def address(text: str, where: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Split ``address:port``.

    Args:
        text: As an operator writes it.
        where: What stands in front of the message.

    Raises:
        ConfigError: It is no numeric address with a port of at most 65535.
    """
    match = re.fullmatch(r"\[?([0-9a-fA-F.:]+?)\]?:(\d{1,5})", text.replace("localhost", "127.0.0.1", 1))
    try:
        if match is None or int(match[2]) > 65535:
            raise ValueError
        return ipaddress.ip_address(match[1]), int(match[2])
    except ValueError:
        raise ConfigError(f"{where}: expected a numeric address and a port such as 127.0.0.1:8700, found "
                          f"{shortened(text)}; correct it") from None


def keys(path: Path) -> set[str] | None:
    """Name the keys and tables at a settings file's top; None if there is no telling, and `load` says why."""
    try:
        return set(tomllib.loads(read(path)))
    except (ConfigError, ValueError, RecursionError):
        return None


def located(folder: Path, text: str) -> Path:
    """Resolve a path of a settings file against the file's folder.

    Args:
        folder: The settings file's.
        text: As an operator writes it.

    Raises:
        ValueError: It is empty, no file system could hold it, or it names a user there is not.
    """
    if not text or "\0" in text:
        raise ValueError(f"expected a path, found {text!r}")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"expected a path, found {text!r}, whose user does not exist here") from None


def _line_of(text: str, steps: tuple[str | int, ...]) -> str:
    """Return ``": line N"`` for the key or table at ``steps``, or nothing if it cannot be found."""
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    best = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = ()
            for part in header["name"].split("."):
                table = (*table, part.strip("\"' "))
                if table in counts and header["open"] == "[":
                    table = (*table, counts[table])
            if header["open"] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            at = table
        elif key := _KEY.match(line):
            at = (*table, *(part.strip("\"' ") for part in key["key"].split(".")))
        else:
            continue
        if at[:len(steps)] == steps:    # it, or the first of a list of such tables
            return f": line {number}"
        if steps[:len(at)] == at:  # an inline table or array holds it
            best = f": line {number}"
    return best


def _toml(tree: Mapping[str, Any], where: tuple[str, ...]) -> Iterator[str]:
    tables: dict[str, list[Mapping[str, Any]] | Mapping[str, Any]] = {}
    for key, value in tree.items():
        array = isinstance(value, list | tuple) and value and isinstance(value[0], dict)
        if array or isinstance(value, dict):
            tables[key] = list(value) if array else value
        elif value is not None:
            yield f"{key} = {msgspec.json.encode(value).decode()}"
    for key, table in tables.items():
        name = ".".join((*where, key))
        for item in table if isinstance(table, list) else [table]:
            yield ""
            yield f"[[{name}]]" if isinstance(table, list) else f"[{name}]"
            yield from _toml(item, (*where, key))
