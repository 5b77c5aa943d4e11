"""A plan only ever runs on the device it was made on, from the graph it was made from, with every byte in its place."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cmnas_edge.engine import check_golden
from cmnas_edge.engine.tensorrt.plan import Plan, read_manifest
from cmnas_edge.errors import BundleError, DeviceError
from tests.fake_gpu import ORIN
from tests.gpu_site import Site
from tests.tiny_bundle import TINY

CROPS = np.random.default_rng(3).integers(0, 256, (23, 32, 16, 3), dtype=np.uint8)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.place:
        yield site
    assert not site.cuda.buffers
    assert site.cuda.thread is None


def test_a_plan_runs_on_an_equal_device_it_was_copied_to(site: Site, tmp_path: Path) -> None:
    site.build()
    elsewhere = Site(tmp_path / "other")
    shutil.copytree(site.cache, elsewhere.cache)
    with elsewhere.place, elsewhere.open() as engine:
        assert check_golden(engine, elsewhere.bundle, "visible") < 1e-6
    assert elsewhere.trt.builds == 0


@pytest.mark.parametrize(("change", "says"), [
    ({"sm_count": 16}, "expected a plan for Orin with 16 multiprocessors, found one for Orin with 8"),
    ({"name": "Thor"}, "expected a plan for Thor with 8"),
    ({"capability": "9.0"}, r"expected a plan for compute capability 9.0 \(Orin\), found one for 8.7"),
    ({"version": "10.7.0"}, "expected a plan made with TensorRT 10.7.0, .*, found one made with 10.3.0"),
    ({"platform": "linux-aarch64"}, "expected a plan made on linux-aarch64, found one made on linux-x86_64; plans"),
])
def test_a_plan_of_another_device_is_refused_with_what_differs_before_tensorrt_sees_it(
        site: Site, tmp_path: Path, change: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site.build()
    version = str(change.pop("version", "10.3.0"))
    name = str(change.pop("platform", "linux-x86_64"))
    monkeypatch.setattr("platform.machine", lambda: name.partition("-")[2])
    elsewhere = Site(tmp_path, msgspec.structs.replace(ORIN, **change), version)
    elsewhere.trt.logs["Runtime"] = "never made"
    with elsewhere.place, pytest.raises(DeviceError, match=says) as refusal:
        elsewhere.open()
    assert "build here: cmnas-edge engine build" in str(refusal.value)


def test_without_a_plan_the_command_that_makes_one_is_named(site: Site) -> None:
    with pytest.raises(DeviceError, match="expected a plan of visible in fp32 for this device, found none") as error:
        site.open()
    assert str(error.value).endswith(f"make it here: cmnas-edge engine build {TINY}")


@pytest.mark.parametrize(("damage", "says"), [
    (lambda data: data[:-100], r"expected \d+ bytes, found \d+: it was cut short"),
    (lambda data: b"", r"expected \d+ bytes, found 0: it was cut short"),
    (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], r"expected the \d+ bytes that were built"),
    (lambda data: data + b"\0", r"expected the \d+ bytes that were built"),
    (lambda data: data.replace(b"\n", b"\r\n"), "a program that takes files for text"),
    (lambda data: data.decode(errors="replace").encode(), "a program that takes files for text"),
])
def test_a_damaged_plan_is_called_so_before_tensorrt_sees_it(site: Site, damage: object, says: str) -> None:
    path = site.build()
    data = path.read_bytes()
    assert b"\n" in data
    path.write_bytes(damage(data))  # type: ignore[operator]
    site.trt.logs["Runtime"] = "never made"
    with pytest.raises(BundleError, match=says + ".*; copy it again, or build again: cmnas-edge engine build"):
        site.open()


@pytest.mark.parametrize("above", [0, 1, 2, 3], ids=["plan", "its folder", "folder of plans", "cache"])
@pytest.mark.parametrize(("mode", "who"), [(0o777, "anybody"), (0o757, "anybody"), (0o775, "its group")])
def test_a_plan_that_others_may_write_is_code_of_others_and_never_runs(
        site: Site, above: int, mode: int, who: str) -> None:
    path = site.build()
    (path, *path.parents)[above].chmod(mode)
    site.trt.logs["Runtime"] = "never made"
    with pytest.raises(BundleError, match=rf"its owner may change, found mode {mode:o}, with which {who}.*chmod go-w"):
        site.open()


@pytest.mark.parametrize("above", [0, 1, 2, 3], ids=["plan", "its folder", "folder of plans", "cache"])
def test_a_plan_of_another_users_is_that_users_code_and_never_runs(
        site: Site, above: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site.build()
    strangers, honest = (path, *path.parents)[above], Path.stat

    def stat(where: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = honest(where, follow_symlinks=follow_symlinks)
        return os.stat_result((*found[:4], os.geteuid() + 1, *found[5:10])) if where == strangers else found

    monkeypatch.setattr(Path, "stat", stat)
    site.trt.logs["Runtime"] = "never made"
    with pytest.raises(BundleError, match=rf"{strangers}: expected what is this user's or root's, .* give.*chown"):
        site.open()


def test_a_plan_is_its_owners_whatever_the_umask(site: Site) -> None:
    before = os.umask(0)
    try:
        site.build()
    finally:
        os.umask(before)
    site.open().close()


def test_a_large_plan_without_its_carriage_returns_went_through_a_text_program(site: Site) -> None:
    path = site.build()
    data = np.random.default_rng(0).bytes(2 << 20)
    plan = read_manifest(path, "")
    record = msgspec.structs.replace(plan.file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    path.with_suffix(".json").write_bytes(msgspec.json.encode(msgspec.structs.replace(plan, file=record)))
    path.write_bytes(data.replace(b"\r\n", b"\n"))
    with pytest.raises(BundleError, match="in none of them a carriage return before a line feed"):
        site.open()


@pytest.mark.parametrize(("text", "says"), [
    (None, "expected the manifest that goes with"), (b"", "expected a plan's manifest of this version"),
    (b"\xff\xfe", "expected a plan's manifest"), (b'{"schema":2}', "expected a plan's manifest"),
    (b" " * (1 << 21), "a file too large for one"),
])
def test_a_plan_without_a_manifest_that_can_be_read_is_refused(site: Site, text: bytes | None, says: str) -> None:
    path = site.build().with_suffix(".json")
    path.unlink() if text is None else path.write_bytes(text)
    with pytest.raises(BundleError, match=says):
        site.open()


def test_an_unknown_field_of_a_manifest_is_refused(site: Site) -> None:
    where = site.build().with_suffix(".json")
    where.write_bytes(where.read_bytes().replace(b'"schema"', b'"plugin": "x.so", "schema"', 1))
    with pytest.raises(BundleError, match="plugin"):
        site.open()


def test_a_plan_of_another_bundle_or_of_this_one_before_it_was_exported_again_is_refused(
        site: Site, tmp_path: Path) -> None:
    path = site.build()
    for change, says in (({"bundle": "ab" * 32}, "found visible in fp32 of bundle abababababababab"),
                         ({"name": "infrared"}, "found infrared in fp32"),
                         ({"sha256": "cd" * 32}, "the bundle was exported again, so build again")):
        _edit(path, lambda plan, change=change: msgspec.structs.replace(
            plan, graph=msgspec.structs.replace(plan.graph, **change)))
        with pytest.raises(BundleError, match=says):
            site.open()
        site.build(again=True)


def test_a_manifest_that_says_other_than_the_plan_does_is_refused(site: Site) -> None:
    path = site.build()
    for change, says in (
            (lambda plan: msgspec.structs.replace(plan, tensors=(
                plan.input, msgspec.structs.replace(plan.output, name="features"))), "output features"),
            (lambda plan: msgspec.structs.replace(plan, tensors=(
                plan.input, msgspec.structs.replace(plan.output, dtype="float16"))), "output embeddings float16"),
            (lambda plan: msgspec.structs.replace(plan, profile=msgspec.structs.replace(
                plan.profile, most=(64, 32, 16, 3))), r"expected batches of shape \(\(1, .*64")):
        _edit(path, change)
        with pytest.raises(BundleError, match=says):
            site.open()
        site.build(again=True)


def _edit(path: Path, change: object) -> None:
    where = path.with_suffix(".json")
    where.write_bytes(msgspec.json.encode(change(msgspec.json.decode(where.read_bytes(), type=Plan))))  # type: ignore[operator]
