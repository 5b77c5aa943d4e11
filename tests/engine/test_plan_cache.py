"""Whatever stops a builder, the cache holds whole plans or none, and one builder at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cmnas_edge.engine import check_golden
from cmnas_edge.engine.tensorrt.cache import cache_folder, exclusive, write_together
from cmnas_edge.engine.tensorrt.job import How, bundle_job
from cmnas_edge.errors import BundleError, ConfigError, DiskFull
from tests.gpu_site import HOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.place:
        yield site


def test_a_full_disk_leaves_the_old_plan_and_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site.build()
    before = {name.name: name.read_bytes() for name in site.cache.rglob("*") if name.is_file()}
    for survived in (0, 1):     # the plan itself, or its manifest, finds no room
        monkeypatch.setattr(tempfile, "mkstemp", _full_after(survived))
        with pytest.raises(DiskFull, match="expected room for it, found a full disk; free some space"):
            site.build(again=True)
        monkeypatch.undo()
        assert {name.name: name.read_bytes() for name in site.cache.rglob("*") if name.is_file()} == before
    with site.open() as engine:
        assert engine.plan.file.bytes == path.stat().st_size


def test_a_plan_never_stands_beside_the_manifest_of_another(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site.build()
    renamed: list[Path] = []
    replace = Path.replace

    def stopped(part: Path, target: Path) -> None:
        if renamed:
            raise SystemExit    # as if killed between the two
        renamed.append(target)
        replace(part, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(SystemExit):
        site.build(how=How(4, 7))
    monkeypatch.undo()
    assert renamed == [path]
    assert not path.with_suffix(".json").exists()
    with pytest.raises(BundleError, match="expected the manifest that goes with"):
        site.open()
    site.build()
    site.open().close()


def test_every_file_is_on_the_disk_before_the_first_has_its_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    named: list[int] = []
    sync, replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        sync(handle)
        synced.add(os.fstat(handle).st_ino)

    def rename(part: Path, target: Path) -> None:
        named.append(part.stat().st_ino)
        assert len(synced & {path.stat().st_ino for path in tmp_path.iterdir()}) == 2, "a power cut would lose one"
        replace(part, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    write_together((tmp_path / "plan", b"a plan"), (tmp_path / "json", b"what vouches for it"))
    assert synced >= {*named, tmp_path.stat().st_ino}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["json", "plan"]


def _full_after(survived: int) -> object:
    """Files after the first so many lie on a device that is always full."""
    real = tempfile.mkstemp
    made = []

    def mkstemp(*args: object, **words: object) -> tuple[int, str]:
        handle, name = real(*args, **words)  # type: ignore[call-overload]
        made.append(name)
        if len(made) <= survived:
            return handle, name
        os.close(handle)
        return os.open("/dev/full", os.O_WRONLY), name

    return mkstemp


def test_a_disk_that_is_full_before_is_met_before_anything_is_built(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", _raise(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(DiskFull, match="found a full disk"):
        site.build()
    assert site.trt.builds == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_cache_nobody_may_write_to_is_met_before_anything_is_built(
        site: Site, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", _raise(OSError(number, os.strerror(number))))
    with pytest.raises(ConfigError, match=f"found {os.strerror(number)}; name another with XDG_CACHE_HOME"):
        site.build()
    assert site.trt.builds == 0


def _raise(error: OSError) -> Callable[..., Any]:
    def fails(*args: object, **words: object) -> object:
        raise error
    return fails


def test_a_cache_that_is_no_folder_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    site.cache = tmp_path / "file"
    with pytest.raises(ConfigError, match="expected a folder this user may write to"):
        site.build()


def test_a_plan_that_is_there_needs_no_folder_that_can_be_written_to(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    path = site.build()
    monkeypatch.setattr("cmnas_edge.engine.tensorrt.build.exclusive", _raise(OSError(errno.EROFS, "read-only")))
    assert site.build() == path
    with site.open() as engine:
        assert check_golden(engine, site.bundle, "visible") < 1e-6


def test_of_two_builders_at_once_one_waits_and_takes_what_the_other_made(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path)
    waits, said = threading.Event(), []

    def say(text: str) -> None:
        said.append(text)
        waits.set()

    def second() -> None:
        other.place.build(bundle_job(other.bundle, "visible", "fp32"), HOW, other.cache, say=say)

    thread = threading.Thread(target=second)

    def on_step(step: int) -> None:
        if step == 1:
            thread.start()
            assert waits.wait(20)

    site.trt.on_step = on_step
    with other.place:
        site.build()
        thread.join(20)
    assert said == ["waiting   for another build into the same cache to end"]
    assert (site.trt.builds, other.trt.builds) == (1, 0)


def test_what_a_killed_builder_left_is_swept_away(site: Site) -> None:
    path = site.build()
    left = path.parent / ".tmp1234.part"
    left.write_bytes(b"half")
    site.build(again=True)
    assert not left.exists()


def test_a_disk_that_knows_no_locks_is_refused_in_a_sentence(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", _raise(OSError(errno.ENOLCK, "No locks available")))
    with pytest.raises(ConfigError, match="found No locks available; name another with XDG_CACHE_HOME"):
        with exclusive(tmp_path, lambda: None):
            pass


def test_a_killed_builder_holds_no_lock(tmp_path: Path) -> None:
    script = ("import pathlib, signal, sys\nfrom cmnas_edge.engine.tensorrt.cache import exclusive\n"
              "with exclusive(pathlib.Path(sys.argv[1]), lambda: None):\n    print('locked', flush=True)\n"
              "    signal.pause()")
    waited: list[int] = []
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "locked\n"
        with pytest.raises(InterruptedError), exclusive(tmp_path, _raise(InterruptedError())):
            pass
        builder.kill()
        builder.wait()
    with exclusive(tmp_path, lambda: waited.append(1)):
        pass
    assert not waited


@pytest.mark.parametrize(("setting", "xdg", "folder"), [
    (Path("/srv/plans"), "/var/cache", "/srv/plans"), (None, "/var/cache", "/var/cache/cmnas-edge"),
    (None, "", "/home/gate/.cache/cmnas-edge"), (None, "relative", "/home/gate/.cache/cmnas-edge"),
])
def test_plans_are_kept_where_the_operator_says_or_where_caches_belong(
        setting: Path | None, xdg: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", "/home/gate")
    assert cache_folder(setting) == Path(folder)
