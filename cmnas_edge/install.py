"""A bundle put in its place on a device: whole, trusted and healthy there, or not at all.

Settings name a link; beside it lie the versions it may point to::

    bundle -> bundle.versions/0007-3f9a01c27be4d650
    bundle.versions/0005-... 0006-... 0007-...    what was used before, and what is used now
    bundle.versions/.lock                 one install at a time

Only the link says which version counts, and it is switched by one rename, after every byte of the
new version is on the disk and this device has shown that it can run it. So there is no moment at which
a camera that starts could find half a bundle or an unhealthy one. A version above the current one was
never switched to, or was rolled back from; the next install sweeps it away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cmnas_edge.bundle import Bundle, Trust, open_trusted, own_names, voucher
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.engine import open_engine, results
from cmnas_edge.engine.race import candidates, run_race
from cmnas_edge.errors import BundleError, CmnasError, ConfigError, DeviceError, Transient, unwritable
from cmnas_edge.private import to_disk
from cmnas_edge.sighting import EngineName, Precision
from cmnas_edge.validation import check_retrieval

__all__ = ["Health", "check_health", "install", "race_here", "roll_back"]

Health = Callable[[Bundle], None]   # raises a CmnasError if this device cannot use a bundle
_BATCHES = (1, 8, 32)
_ROUNDS = 5
_KEPT = 2   # versions before the current one: a daemon that nobody restarted may still run from one of them
_VERSION = re.compile(r"(\d{4,})-[0-9a-f]{16}")


def check_health(bundle: Bundle, name: EngineName = "onnxruntime", precision: Precision = "fp32", threads: int = 1
                 ) -> None:
    """Run a bundle on this device: both golden pairs, and the search among its validation crops.

    Args:
        bundle: One that is trusted.
        name: The engine.
        precision: Its arithmetic.
        threads: Of it.

    Raises:
        BundleError: It gives other embeddings here, or finds other people, than where it was packed.
        DeviceError: This device has nothing to run it.
    """
    with ExitStack() as stack:
        engines = {modality: stack.enter_context(open_engine(bundle, modality, name=name, precision=precision,
                                                             threads=threads)) for modality in MODALITIES}
        if bundle.manifest.retrieval is not None:
            check_retrieval(bundle, lambda crops, modality: engines[modality].embed(crops))


def race_here(bundle: Bundle, threads: int) -> str:
    """Race this device's engines over a bundle, and keep who won for the daemon to use; no race is run twice.

    Returns:
        Who won, as a line; and why that could not be kept, if so: the daemon then runs what runs everywhere.

    Raises:
        DeviceError: None of them gives the golden embeddings.
    """
    here = results.machine()
    before = results.kept(bundle, here, threads)
    if isinstance(before, results.Race):
        return f"{before.winner}, as raced on {before.date}"
    found = run_race(bundle, candidates(bundle, threads=threads, max_batch=_BATCHES[-1]), here, batches=_BATCHES,
                     threads=threads, rounds=_ROUNDS)
    if found.winner is None:
        raise DeviceError(f"{bundle.path}: expected an engine that gives the golden embeddings here, found none: "
                          + "; ".join(f"{row.entrant} {row.verdict}" for row in found.rows))
    try:
        results.keep(found, results.race_path(bundle, here, threads))
    except CmnasError as error:
        return f"{found.winner} (not kept: {error})"
    return str(found.winner)


def install(source: Path, link: Path, trust: Trust, health: Health = check_health) -> tuple[Bundle, bool]:
    """Copy a bundle beside a link, see whether this device can use it, and point the link to it.

    Args:
        source: The bundle's folder.
        link: What settings call the bundle.
        trust: Whose bundles are used.
        health: Decides about the copy, before anything uses it.

    Returns:
        The bundle behind the link, and whether it is another than before.

    Raises:
        BundleError: ``source`` is none, damaged, not trusted, or not healthy here.
        DeviceError: This device has nothing to run it.
        ConfigError: Something else than a link is at ``link``, or its folder cannot be written.
        DiskFull: There is no room for a copy.
        Transient: Another install is at work here.
    """
    wanted = open_trusted(source, trust)
    with _at_work(link) as versions:
        current = _current(link, versions)
        if current is not None and _is_same(current, wanted):
            health(same := Bundle.open(current))    # the device, or the engine its settings name, may be another
            return same, False
        _sweep(versions, above=current)
        folder = versions / f"{_number(_listed(versions)) + 1:04d}-{_digest(wanted)}"
        try:
            _copy(wanted, folder)
            fresh = Bundle.open(folder)
            voucher(fresh, trust)   # of the copy: the source may have changed since
            health(fresh)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, CmnasError):
                raise type(error)(f"{error} (nothing was changed: "
                                  f"{'there is no bundle yet' if current is None else f'{current.name} stays'})"
                                  ) from error
            raise
        _switch(link, folder)
        _forget(versions, folder)
        return fresh, True


def roll_back(link: Path, trust: Trust, health: Health = check_health) -> Bundle:
    """Point the link to the version before the current one, if this device can still use that.

    Raises:
        BundleError: There is none, or it is damaged, not trusted or not healthy.
        CmnasError: As `install`.
    """
    with _at_work(link) as versions:
        current = _current(link, versions)
        before = [] if current is None else [v for v in _listed(versions) if _number([v]) < _number([current])]
        if not before:
            raise BundleError(f"{link}: expected a version before the current one, found none; install the bundle you "
                              "want")
        bundle = open_trusted(before[-1], trust)
        health(bundle)
        _switch(link, before[-1])
        return bundle


@contextmanager
def _at_work(link: Path) -> Iterator[Path]:
    """Hold the folder of versions for one install, and say in a sentence what goes wrong in it."""
    versions = link.with_name(f"{link.name}.versions")
    if link.exists() and not link.is_symlink():
        raise ConfigError(f"{link}: expected a link that an install made, or nothing yet, found a "
                          f"{'folder' if link.is_dir() else 'file'}; move it away (mv {link} {link}.old) and install "
                          "the bundle")
    for path in (versions, *versions.parents):
        if os.path.lexists(path):   # of a link into nothing nobody could make a folder either
            if not path.is_dir():
                raise ConfigError(f"{path}: expected a folder for the versions of a bundle, or nothing yet, found "
                                  f"something else; move it away (mv {path} {path}.old) or name another place, and "
                                  "install the bundle; the bundle in use was not touched")
            break
    lock = None
    try:
        if not versions.is_dir():
            versions.mkdir(parents=True, exist_ok=True)
            versions.chmod(0o755)
        lock = os.open(versions / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Transient(f"{versions}: expected no other install, found one at work; wait for it to end and give "
                            "the command again") from None
        yield versions
    except OSError as error:
        raise unwritable(
            error.filename or versions, "another bundle", error, "the bundle in use was not touched: run this as the "
            "folder's owner, or name another place", kind="a folder that can hold links and that",
            again="install again; the bundle in use was not touched") from error
    finally:
        if lock is not None:
            os.close(lock)


def _current(link: Path, versions: Path) -> Path | None:
    if not link.is_symlink():
        return None
    target = link.parent / link.readlink()
    if target.parent != versions or not _VERSION.fullmatch(target.name):
        raise ConfigError(f"{link}: expected a link that an install made, found one to {link.readlink()}; remove the "
                          "link and install the bundle")
    return target


def _is_same(current: Path, wanted: Bundle) -> bool:
    """Whether this very bundle is in its place, and whole."""
    try:
        found = Bundle.open(current)
    except BundleError:
        return False
    return _digest(found) == _digest(wanted)


def _digest(bundle: Bundle) -> str:
    """Another for another manifest, and for other signers of the same."""
    return hashlib.sha256(" ".join((bundle.manifest_sha256, *bundle.signers)).encode()).hexdigest()[:16]


def _listed(versions: Path) -> list[Path]:
    """All versions, the oldest first."""
    return sorted((path for path in versions.iterdir() if _VERSION.fullmatch(path.name)), key=lambda v: _number([v]))


def _number(listed: list[Path]) -> int:
    """The number of the last version; 0 if there is none."""
    return int(listed[-1].name.partition("-")[0]) if listed else 0


def _sweep(versions: Path, *, above: Path | None) -> None:
    """Remove what an install that was cut short, or a rollback, left behind; without a link that is everything."""
    for version in _listed(versions):
        if above is None or _number([version]) > _number([above]):
            shutil.rmtree(version)


def _forget(versions: Path, current: Path) -> None:
    """Keep the current version and the last `_KEPT` whole ones before it."""
    kept = 0
    for version in reversed(_listed(versions)):
        if version == current:
            continue
        if kept < _KEPT and _is_whole(version):
            kept += 1
        else:
            shutil.rmtree(version, ignore_errors=True)


def _is_whole(version: Path) -> bool:
    try:
        Bundle.open(version)
    except BundleError:
        return False
    return True


def _copy(bundle: Bundle, folder: Path) -> None:
    """Copy what a bundle consists of, and nothing else, until it is on the disk."""
    folder.mkdir()
    names = [*bundle.manifest.files, *(name for name in own_names() if (bundle.path / name).exists())]
    folders = {folder}
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        folders.add(path.parent)
        path.write_bytes((bundle.path / name).read_bytes())
        path.chmod(0o644)   # a bundle is no secret, and whoever installs it may not be who runs the daemon
    for path in (*(folder / name for name in names), *folders, folder.parent):
        if path in folders:
            path.chmod(0o755)
        to_disk(path)


def _switch(link: Path, version: Path) -> None:
    fresh = version.parent / ".link"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path(version.parent.name) / version.name)
    fresh.replace(link)
    to_disk(link.parent)
