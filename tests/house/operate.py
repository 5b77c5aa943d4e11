"""The tables of docs/operate.md, made from the code: settings, metrics, log events and exit codes.

    python -m tests.house.operate            # write them into the document, between its marks

A test holds the document against them, so a setting, metric, event or code that is new, gone or
changed shows. What stands around the tables is written by people.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cmnas_edge import errors
from cmnas_edge.camera.running.metrics import METRICS
from cmnas_edge.camera.running.reload import LIVE
from cmnas_edge.camera.settings import CameraSettings, DeviceSettings
from cmnas_edge.collector.settings import CollectorSettings, MqttSettings
from cmnas_edge.collector.web.metrics import METRICS as COLLECTOR_METRICS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "operate.md"
# What no daemon runs: its events are not an operator's.
_ELSEWHERE = ("demo", "synthetic", "install.py", "bundle_commands.py", "engine_commands.py", "key_commands.py")
_LEVELS = {"info": "info", "warning": "warning", "error": "error", "critical": "critical"}
EXIT_CODES = {
    0: "done; or stopped by SIGTERM or Ctrl-C, with everything delivered or on disk",
    2: "the command line is wrong",
    65: "a bundle or checkpoint is damaged, foreign or of another kind: export it again; or an audit found bytes that "
        "nothing explains",
    69: "this machine lacks something: a package, a GPU, a camera",
    75: "waiting may help: a full disk, a collector out of reach, a port that is another's; a running daemon "
        "retries instead",
    78: "a setting, path or recording cannot be used; also a daemon that went on without one of its sources",
    130: "stopped with Ctrl-C; not by a daemon, which ends in good order",
}


def codes() -> set[int]:
    """Exit codes that the tree of errors has."""
    def below(kind: type[errors.CmnasError]) -> Iterator[int]:
        for child in kind.__subclasses__():
            yield child.exit_code
            yield from below(child)

    return set(below(errors.CmnasError))


def described(kind: type[msgspec.Struct]) -> dict[str, str]:
    """What a struct's docstring says of each of its fields."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    for line in text.splitlines():
        if match := re.match(r"    (\w+): (.*)", line):
            name = match[1]
            found[name] = match[2]
        elif line.startswith("        "):
            found[name] += " " + line.strip()
    return found


def settings(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Each key as an operator writes it, its default, and what it is for."""
    says = described(kind)
    for field in msgspec.structs.fields(kind):
        inner = {"cameras": CameraSettings, "mqtt": MqttSettings}.get(field.name, field.type)
        name = prefix + field.name
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from settings(inner, f"{name}{'[]' if field.name == 'cameras' else ''}.")
        else:
            yield name, _default(field), says[field.name]


def _default(field: Any) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "..."
    if field.default is msgspec.NODEFAULT:
        return "required"
    value = str(field.default) if isinstance(field.default, Path) else field.default
    return "none" if value is None else f"`{msgspec.json.encode(value).decode()}`"


def events() -> Iterator[tuple[str, str, str]]:
    """Each line that a daemon may log: level, room, and its words, with an ellipsis for what changes."""
    found = set()
    for path in sorted((ROOT / "cmnas_edge").rglob("*.py")):
        parts = path.relative_to(ROOT / "cmnas_edge").parts
        if parts[0] in _ELSEWHERE:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        room = next((node.args[0].value.removeprefix("cmnas.") for node in ast.walk(tree)
                     if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger" and node.args
                     and isinstance(node.args[0], ast.Constant)), "")
        for node in ast.walk(tree):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LEVELS
                    and ast.unparse(node.func.value) == "_log"):
                assert isinstance(node.args[0], ast.Constant), f"{path}: expected the words of an event in one text"
                words = re.sub(r"%[-+.\d]*[a-zA-Z]", "…", node.args[0].value)
                if re.search(r"[a-z]{3}", words):   # else an error's own sentence
                    found.add((_LEVELS[node.func.attr], room, words))
    order = list(_LEVELS)[::-1]
    return iter(sorted(found, key=lambda row: (row[1], order.index(row[0]), row[2])))


def tables() -> dict[str, str]:
    """Every table, by the mark it stands behind."""
    live = {name.replace("cameras.", "cameras[].", 1) for name in LIVE}
    return {
        "settings of a device": _table(("setting", "default", "live", "what it is"), (
            (f"`{name}`", default, "yes" if name in live else "", says)
            for name, default, says in settings(DeviceSettings))),
        "settings of a collector": _table(("setting", "default", "what it is"), (
            (f"`{name}`", default, says) for name, default, says in settings(CollectorSettings))),
        "metrics": _table(("metric", "kind", "labels", "what it says"), (
            (f"`{one.name}`", one.kind, ", ".join(one.labels), one.says) for one in METRICS)),
        "metrics of a collector": _table(("metric", "kind", "labels", "what it says"), (
            (f"`{one.name}`", one.kind, ", ".join(one.labels), one.says) for one in COLLECTOR_METRICS)),
        "log events": _table(("room", "level", "says"), (
            (room, level, words) for level, room, words in events())),
        "exit codes": _table(("exit", "means"), ((str(code), says) for code, says in EXIT_CODES.items())),
    }


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", text).replace("|", "\\|")


def filled(document: str) -> str:
    """The document with every table as the code has it now."""
    for mark, table in tables().items():
        begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
        assert document.count(begin) == document.count(end) == 1, f"expected {begin} and {end} once each"
        before, rest = document.split(begin)
        document = f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return document


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text("utf-8")), "utf-8")
    sys.exit(0)
