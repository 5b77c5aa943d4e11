"""What of TensorRT's and pycuda's interface the project uses, by name: ``python -m tests.tensorrt.surface`` writes it.

`surface.json` has, per version of the bindings, the members our source names. A change of it is a change of what
the project leans on, so it stands in a commit where it is seen.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tests.tensorrt import on, wheels

SOURCE = on.ROOT / "cmnas_edge" / "engine" / "tensorrt"
FILE = Path(__file__).with_suffix(".json")
OURS = {name for kind in (dict, list, set, str) for name in dir(kind)}  # names that say nothing of TensorRT
MODULES = ("trt", "_trt")  # names our source has for the module
CLASSES = ("Builder", "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILogger",
           "INetworkDefinition", "IOptimizationProfile", "IProgressMonitor", "ITensor", "ITimingCache",
           "OnnxParser", "OnnxParserRefitter", "ParserError", "Refitter", "Runtime")


def attributes() -> tuple[set[str], set[str]]:
    """Of our source: what it takes from the module ("BuilderFlag.TF32"), and all attributes it names."""
    dotted: set[str] = set()
    names: set[str] = set()
    for path in sorted(SOURCE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
                chain = list(_chain(node))
                for at, part in enumerate(chain[:-1]):
                    if part in MODULES:
                        dotted.add(".".join(chain[at + 1:]))
            elif isinstance(node, ast.FunctionDef):
                names.add(node.name)  # what TensorRT calls: log, step_complete
    return dotted, names - OURS


def surface(trt: ModuleType) -> list[str]:
    """What of it is there in these bindings."""
    dotted, names = attributes()
    found = {name for name in dotted if _there(trt, name)}
    for kind in CLASSES:
        members = set(dir(getattr(trt, kind)))
        found |= {f"{kind}.{name}" for name in members & names if not name.startswith("_")}
    return sorted(found)


def _chain(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        yield from _chain(node.value)
        yield node.attr
    elif isinstance(node, ast.Name):
        yield node.id


def _there(trt: ModuleType, name: str) -> bool:
    value: object = trt
    for part in name.split("."):
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True


def main() -> int:
    """Write `surface.json`."""
    if sys.argv[1:] == ["-"]:  # in a process with bindings
        import tensorrt

        sys.stdout.write(json.dumps(surface(tensorrt)))
        return 0
    found = {version: json.loads(subprocess.run(
        [sys.executable, "-m", "tests.tensorrt.surface", "-"], env=on.environment(version), cwd=on.ROOT, text=True,
        check=True, stdout=subprocess.PIPE).stdout) for version in wheels.VERSIONS}
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
