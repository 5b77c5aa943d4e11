"""What a machine lacks for TensorRT is said in a sentence each, before anything of TensorRT is touched."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine import open_engine
from cmnas_edge.engine.tensorrt import TensorRtEngine
from cmnas_edge.engine.tensorrt import device as here
from cmnas_edge.engine.tensorrt.device import Device, missing, power_mode, too_old
from cmnas_edge.errors import DeviceError
from tests.fake_gpu import ORIN
from tests.tiny_bundle import TINY, with_variant


def driver(count: int = 1, init: int = 0, counting: int = 0) -> Any:
    """A libcuda that answers so."""
    def device_count(place: Any) -> int:
        place._obj.value = count
        return counting
    return SimpleNamespace(cuInit=lambda flags: init, cuDeviceGetCount=device_count)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder packages are imported from, and a driver with one GPU."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver())
    for name in ("tensorrt", "pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(folder: Path, name: str, text: str = "") -> None:
    path = folder.joinpath(*name.split("."))
    path.mkdir(parents=True)
    (path / "__init__.py").write_text(text)


def test_without_a_driver_it_is_the_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert str(missing()).startswith("an NVIDIA driver (libcuda.so.1); install it, or JetPack")


@pytest.mark.parametrize(("found", "says"), [
    (driver(init=100), "a GPU that the driver can start (cuInit answers 100)"),
    (driver(count=0), "a GPU that this process may see (the driver counts 0, code 0); correct CUDA_VISIBLE_DEVICES"),
    (driver(counting=3), "a GPU that this process may see (the driver counts 1, code 3)"),
])
def test_a_driver_without_a_gpu_is_asked_and_not_believed_to_have_one(
        found: object, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    assert str(missing()).startswith(says)


def test_with_a_gpu_it_is_the_packages_one_after_the_other(packages: Path) -> None:
    assert str(missing()).startswith("the Python package tensorrt; on a Jetson JetPack brings it")
    install(packages, "tensorrt", "raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    assert str(missing()).startswith("the Python package pycuda (")
    install(packages, "pycuda")
    install(packages, "pycuda.driver")
    assert "a TensorRT whose libraries load (libnvinfer.so.10" in str(missing())


@pytest.mark.parametrize(("version", "says"), [
    ("8.6.1", "TensorRT 10.3 or newer: this is 8.6.1; install a newer one (JetPack 6"), ("10.0.1", "this is 10.0.1"),
    ("10.2.0.post1", "this is 10.2.0.post1"), ("10.3.0", None), ("10.3.0.30", None), ("10.16.1.11", None),
    ("11.4.0.106", None)])
def test_a_tensorrt_that_is_too_old_is_named_with_the_oldest_that_is_not(
        packages: Path, version: str, says: str | None) -> None:
    install(packages, "tensorrt", f"__version__ = {version!r}")
    install(packages, "pycuda")
    install(packages, "pycuda.driver")
    found = missing()
    assert found == too_old(version)
    assert found is None if says is None else says in str(found)


def test_this_very_machine_is_asked_without_a_crash() -> None:
    reason = missing()
    assert reason is None or len(reason.splitlines()) == 1


@pytest.mark.skipif(missing() is None, reason="there is a GPU and a TensorRT here")
@pytest.mark.parametrize("words", [["build", str(TINY)]])
def test_a_machine_without_tensorrt_is_told_what_it_lacks_and_69(
        words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["engine", *words]) == 69
    assert f"expected {missing()}" in capsys.readouterr().err
    with pytest.raises(DeviceError, match="engine 'tensorrt': expected"):
        open_engine(Bundle.open(TINY), "visible", name="tensorrt")


def test_bf16_is_no_precision_of_tensorrts_and_the_message_has_those_that_are(tmp_path: Path) -> None:
    bundle = with_variant(Path(shutil.copytree(TINY, tmp_path / "tiny")), "bf16")
    with pytest.raises(DeviceError, match="expected fp32, fp16, int8 or int8_fp16, found bf16"):
        TensorRtEngine(bundle, "visible", precision="bf16")


def test_devices_that_cannot_run_each_others_plans_have_other_keys() -> None:
    one = Device("linux-aarch64", "10.3.0", ORIN)
    others = [msgspec.structs.replace(one, platform="linux-x86_64"), msgspec.structs.replace(one, tensorrt="10.3.0.30"),
              msgspec.structs.replace(one, gpu=msgspec.structs.replace(ORIN, sm_count=16)),
              msgspec.structs.replace(one, gpu=msgspec.structs.replace(ORIN, capability="7.2")),
              msgspec.structs.replace(one, gpu=msgspec.structs.replace(ORIN, name="NVIDIA/../Thor"))]
    keys = {device.key for device in (one, *others)}
    assert len(keys) == 6
    assert not any(set("/ ") & set(key) for key in keys)
    assert msgspec.structs.replace(one, power_mode="15W", l4t="R36.4").key == one.key


def test_a_jetsons_power_mode_and_release_are_read_and_others_have_none(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(here, "_L4T", tmp_path / "release")
    assert (power_mode(), here._l4t()) == ("", "")
    tool = tmp_path / "nvpmodel"
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: MAXN_SUPER'\necho 2\n")
    tool.chmod(0o755)
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n")
    assert (power_mode(), here._l4t()) == ("MAXN_SUPER", "R36.4.3")
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert power_mode() == ""
