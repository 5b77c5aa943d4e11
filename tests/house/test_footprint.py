"""A camera carries what README says it carries, and a Jetson can install it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.footprint import measure

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TAGS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


def test_a_camera_carries_what_the_readme_says() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = measure()
    readme = (ROOT / "README.md").read_text("utf-8")
    row = re.search(rf"^\| {version} \| (\d+) \| (\d+) \| (\d+) \| (.+) \|$", readme, re.MULTILINE)
    assert row, f"README.md has no footprint row for Python {version}: python tests/house/footprint.py prints it"
    assert set(row[4].split(", ")) == set(found.packages)
    # Releases of the same packages grow and shrink a little; a new dependency does more than that.
    assert found.megabytes == pytest.approx(float(row[2]), rel=0.15)
    assert found.opencv_megabytes == pytest.approx(float(row[3]), rel=0.15)


@pytest.mark.network
@pytest.mark.parametrize("version", ["3.10", "3.12"])
def test_every_camera_dependency_has_an_aarch64_wheel(version: str, tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [text.partition(";")[0] for text in project["dependencies"]]
    report = tmp_path / "report.json"
    platforms = [word for tag in TAGS for word in ("--platform", f"{tag}_aarch64")]
    # A dry run resolves exactly as `pip download` does, and leaves the 100 MB where they are.
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--target",
         str(tmp_path / "none"), "--report", str(report), "--only-binary=:all:", "--python-version", version,
         "--implementation", "cp", *platforms, *wanted],
        capture_output=True, text=True, check=False)
    if ran.returncode and re.search("(?i)connection|resolve host|retries|name resolution|no such index", ran.stderr):
        pytest.skip("the package index cannot be reached")
    assert ran.returncode == 0, ran.stderr
    names = {item["metadata"]["name"].lower() for item in json.loads(report.read_text())["install"]}
    assert {"numpy", "onnxruntime", "opencv-python-headless", "protobuf", "msgspec"} <= names


def test_every_promised_package_stands_where_it_belongs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    places = {"": project["dependencies"], **project["optional-dependencies"]}

    def place(package: str) -> list[str]:
        return [extra for extra, texts in places.items()
                if any(re.match(rf"{package}(?![\w-])", text) for text in texts)]

    assert {name: place(name) for name in ("numpy", "opencv-python-headless", "onnxruntime")} == {
        "numpy": [""], "opencv-python-headless": [""], "onnxruntime": [""]}
    assert {name: place(name) for name in ("torch", "onnx", "pycuda", "tensorrt-cu12")} == {
        "torch": ["workshop"], "onnx": ["workshop", "test"], "pycuda": ["tensorrt"], "tensorrt-cu12": ["tensorrt"]}
    torch = next(text for text in places["workshop"] if text.startswith("torch"))
    assert "==" not in torch, "users get a range of torch; this project's machines use constraints.txt"
