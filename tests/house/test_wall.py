"""A camera stays small: what it imports cannot reach the workshop or the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAR = ("torch", "torchvision", "onnx", "onnxscript", "timm", "safetensors", "starlette", "uvicorn", "matplotlib",
       "av", "train", "export", "tensorrt", "pycuda", "cmnas_edge.collector")
NEAR = {"_cffi_backend", "cmnas_edge", "cryptography", "cv2", "google", "msgspec", "numpy", "onnxruntime", "tomli",
        "typing_extensions"}  # which msgspec takes if it is there, and does without

PROBE = """
import importlib, pathlib, sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if any(name == far or name.startswith(far + ".") for far in FAR):
            raise ModuleNotFoundError(f"{name} stands behind the wall", name=name)

sys.meta_path.insert(0, Wall())
before = set(sys.modules)
for name in NAMES:
    importlib.import_module(name)
third = {name.partition(".")[0] for name in set(sys.modules) - before}
third = {n for n in third if "site-packages" in str(getattr(sys.modules.get(n), "__file__", ""))
         or n in ("cmnas_edge", "google")}
print(*sorted(third))
"""


def modules(*rooms: str) -> list[str]:
    """Every module under the named rooms; an empty name is the hall itself."""
    found = []
    for room in rooms:
        folder = ROOT / "cmnas_edge" / room
        paths = folder.glob("*.py") if not room else folder.rglob("*.py")
        found += [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in paths]
    return sorted(found)


def imported(names: list[str]) -> set[str]:
    script = f"FAR = {FAR!r}\nNAMES = {names!r}\n{PROBE}"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


def test_every_camera_module_imports_where_torch_onnx_and_starlette_cannot_exist() -> None:
    names = modules("", "camera", "engine")
    assert "cmnas_edge.camera.daemon" in names
    assert imported(names) <= NEAR


def test_drawing_people_needs_no_more_than_a_camera_has() -> None:
    assert imported(modules("synthetic")) <= NEAR


def test_the_wall_stands() -> None:
    ran = subprocess.run([sys.executable, "-c", f"FAR = {FAR!r}\nNAMES = ['torch']\n{PROBE}"],
                         capture_output=True, text=True, cwd=ROOT, check=False)
    assert "torch stands behind the wall" in ran.stderr


def test_importing_the_package_costs_nothing() -> None:
    probe = "import sys; before = set(sys.modules); import cmnas_edge; print(*(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert set(ran.stdout.split()) <= {"cmnas_edge", "__future__"}


def test_asking_for_help_imports_no_room() -> None:
    probe = ("import sys, cmnas_edge.cli as c\n"
             "try: c.main(['--help'])\n"
             "except SystemExit: pass\n"
             "print('LOADED', *(m for m in ('numpy', 'cv2', 'onnxruntime', 'starlette') if m in sys.modules))")
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.splitlines()[-1].split() == ["LOADED"]
