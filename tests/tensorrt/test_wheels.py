"""What the harness needs is made once, whole or not at all; and where it cannot be, the reason is said."""

from __future__ import annotations

import platform
import threading
from pathlib import Path

import pytest

from tests.tensorrt import wheels


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CMNAS_WHEELS", str(tmp_path / "cache"))
    monkeypatch.setattr(wheels, "_unreachable", [])
    return tmp_path / "cache"


def test_of_many_who_ask_at_once_one_makes_it(cache: Path) -> None:
    made: list[Path] = []
    together = threading.Barrier(8)

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "whole").touch()

    def ask() -> None:
        together.wait()
        assert (wheels._kept("thing", make) / "whole").exists()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "thing"]


def test_what_could_not_be_made_leaves_nothing_and_is_tried_again(cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise wheels.Missing("no reason")

    for _ in range(2):
        with pytest.raises(wheels.Missing, match="no reason"):
            wheels._kept("thing", fail)
    assert [path.name for path in cache.iterdir()] == [".lock"]


def test_an_index_that_gives_nothing_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], failed: str) -> None:
        asked.append(command)
        raise wheels.Missing(f"{failed}: no route to host")

    monkeypatch.setattr(wheels, "_run", run)
    monkeypatch.setattr(wheels, "_check_machine", lambda: None)
    for version in wheels.VERSIONS:
        with pytest.raises(wheels.Missing, match=r"could not install .*bindings 10\.3\.0: no route to host"):
            wheels.bindings(version)
    assert len(asked) == 1


@pytest.mark.parametrize(("system", "machine"), [("Linux", "aarch64"), ("Darwin", "x86_64")])
def test_another_machine_is_told_what_this_is_for(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    for ask in (wheels.libraries, lambda: wheels.bindings("10.3.0")):
        with pytest.raises(wheels.Missing, match=f"the stand-ins are for Linux x86_64, this is {system} {machine}"):
            ask()


def test_without_a_compiler_that_is_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wheels, "_check_machine", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(wheels.Missing, match=r"no C\+\+ compiler"):
        wheels.libraries()


def test_a_cache_that_takes_nothing_is_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CMNAS_WHEELS", str(tmp_path / "file" / "cache"))
    with pytest.raises(wheels.Missing, match="cannot be written to"):
        wheels._kept("thing", lambda folder: None)
