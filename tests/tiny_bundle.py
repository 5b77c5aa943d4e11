"""The tiny bundle of `tests/contract`, to copy and to tamper with, for tests that need any bundle."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

TINY = Path(__file__).parent / "contract" / "0.1.0" / "bundle"


def copy_tiny(folder: Path) -> Path:
    """A copy of the tiny bundle inside a folder."""
    return Path(shutil.copytree(TINY, folder / "tiny"))


def reseal(bundle: Path, edit: Callable[[dict[str, Any]], object] = lambda manifest: None) -> None:
    """Do what a forger can: edit the manifest, and make every digest and size agree again."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    for name, record in manifest["files"].items():
        if (bundle / name).is_file():
            data = (bundle / name).read_bytes()
            record.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    edit(manifest)
    text = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(text)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(text).hexdigest()}  manifest.json\n")
