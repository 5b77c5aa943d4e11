"""What the harness needs and the repository does not carry: NVIDIA's bindings by pip, the stand-ins by a compiler.

Both are kept in a cache folder (``$CMNAS_WHEELS``, else ``~/.cache/cmnas-edge-tests``), one folder a version, made
whole under a lock: so any number of test processes may ask at once, and the next run asks nobody.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["VERSIONS", "Missing", "bindings", "libraries", "pycuda_folder"]

VERSIONS = ("10.3.0", "10.7.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")
HERE = Path(__file__).resolve().parent
SOURCES = (HERE / "libnvinfer.cpp", HERE / "libcuda.cpp")
PATIENCE_S = 60
_unreachable: list[str] = []


class Missing(Exception):
    """The harness cannot run here; the message says why."""


def bindings(version: str) -> Path:
    """A folder with the bindings of a version, and a module ``tensorrt`` that is them.

    Raises:
        Missing: They are not at hand.
    """
    _check_machine()

    def install(folder: Path) -> None:
        if importlib.util.find_spec("pip") is None:
            raise Missing("no pip in this environment to install NVIDIA's bindings with")
        if _unreachable:
            raise Missing(_unreachable[0])
        try:
            _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--retries=1",
                  "--timeout=15", "--disable-pip-version-check", "--no-compile", f"--target={folder}",
                  f"tensorrt-cu12-bindings=={version}"], f"pip could not install tensorrt-cu12-bindings {version}")
        except Missing as reason:
            _unreachable.append(str(reason))  # the others need not wait for the same
            raise
        # The name `tensorrt` is a package that brings the libraries too; the bindings are all that is wanted of it.
        (folder / "tensorrt.py").write_text("import sys\n\nimport tensorrt_bindings\n\n"
                                            "sys.modules[__name__] = tensorrt_bindings\n", encoding="utf-8")

    return _kept(f"tensorrt-{version}-cp{sys.version_info[0]}{sys.version_info[1]}", install)


def libraries() -> Path:
    """A folder with the stand-ins, under every name the bindings ask for.

    Raises:
        Missing: There is no compiler.
    """
    _check_machine()

    def compiled(folder: Path) -> None:
        compiler = next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
        if compiler is None:
            raise Missing("no C++ compiler to compile the stand-ins with")
        for source, target in zip(SOURCES, ("libfake.so", "libcuda.so.1"), strict=True):
            _run([compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(folder / target), str(source)],
                 f"{compiler} could not compile {source.name}")
        for name in ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin"):
            for major in {version.split(".")[0] for version in VERSIONS}:
                (folder / f"{name}.so.{major}").symlink_to("libfake.so")

    digest = hashlib.sha256(b"".join(path.read_bytes() for path in (*SOURCES, Path(__file__)))).hexdigest()
    return _kept(f"libraries-{digest[:16]}", compiled)


def pycuda_folder() -> Path | None:
    """A folder with a pycuda that somebody built into the cache for this Python; it takes minutes, so no test does."""
    folder = _cache() / f"pycuda-cp{sys.version_info[0]}{sys.version_info[1]}"
    return folder if folder.is_dir() else None


def _cache() -> Path:
    return Path(os.environ.get("CMNAS_WHEELS") or Path.home() / ".cache" / "cmnas-edge-tests")


def _check_machine() -> None:
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise Missing(f"the stand-ins are for Linux x86_64, this is {machine}")


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, made by the first who asks; it is there whole or not at all."""
    cache = _cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (cache / name).is_dir():
                with tempfile.TemporaryDirectory(dir=cache, prefix=".part-") as part:
                    made = Path(part) / name
                    made.mkdir()
                    make(made)
                    made.rename(cache / name)
    except OSError as error:
        raise Missing(f"{cache} cannot be written to ({error.strerror})") from error
    return cache / name


def _run(command: list[str], failed: str) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise Missing(f"{failed} within {PATIENCE_S} s") from None
    if ran.returncode:
        said = (ran.stderr or ran.stdout).strip().splitlines() or ["it does not say why"]
        raise Missing(f"{failed}: {said[-1]}")
