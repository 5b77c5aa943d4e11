"""A bundle is installed whole, trusted and healthy, or the one before stays; also when the power goes."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmnas_edge import cli
from cmnas_edge import install as module
from cmnas_edge.bundle import SIGNATURE, Bundle, Trust, open_trusted
from cmnas_edge.bundle.signature import new_key, public_key, signed_by
from cmnas_edge.engine import race, results
from cmnas_edge.errors import BundleError, ConfigError, DiskFull, Transient
from cmnas_edge.install import check_health, install, roll_back
from tests.proof import KILLS
from tests.tiny_bundle import copy_tiny, reseal

ROOT = Path(__file__).resolve().parents[2]
ANY = Trust(allow_unsigned_bundle=True)


def healthy(bundle: Bundle) -> None:
    """A device that can run everything."""


def make(folder: Path, name: str) -> Path:
    """A bundle of another name than any other."""
    (folder / name).mkdir()
    path = copy_tiny(folder / name)
    reseal(path, lambda manifest: manifest.update(name=name))
    return path


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "device" / "bundle"


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [make(tmp_path, name) for name in ("one", "two", "three")]


def versions(link: Path) -> list[str]:
    return [Bundle.open(path).name for path in module._listed(link.with_name("bundle.versions"))]


def test_what_is_installed_is_a_whole_bundle_of_its_own(link: Path, three: list[Path]) -> None:
    bundle, changed = install(three[0], link, ANY, healthy)
    assert changed
    assert Bundle.open(link).name == bundle.name == "one"
    assert Bundle.open(link).path == bundle.path
    shutil.rmtree(three[0])
    shutil.move(link.parent, link.parent.with_name("elsewhere"))    # the link is relative
    assert Bundle.open(link.parent.with_name("elsewhere") / "bundle").name == "one"


def test_a_daemon_can_read_what_another_user_installs_however_private_that_one_is(
        link: Path, three: list[Path]) -> None:
    link.parent.mkdir()
    before = os.umask(0o077)
    try:
        bundle, _ = install(three[0], link, ANY, healthy)
    finally:
        os.umask(before)
    found = [link.with_name("bundle.versions"), bundle.path, *bundle.path.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in found if path.is_dir()} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in found if path.is_file()} == {0o644}


def test_every_file_and_folder_is_on_the_disk_before_the_link_is_switched_and_the_link_after(
        link: Path, three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    honest, honest_replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        honest(handle)

    def replace_(path: Path, target: Path) -> Path:
        assert target == link
        version = (link.parent / path.readlink()).resolve()
        assert {version, *version.rglob("*"), version.parent} <= set(synced)
        synced.clear()
        return honest_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace_)
    install(three[0], link, ANY, healthy)
    assert synced == [link.parent.resolve()]


def test_this_version_and_the_two_before_are_kept_and_older_ones_go(
        link: Path, three: list[Path], tmp_path: Path) -> None:
    for source in (*three, make(tmp_path, "four")):
        install(source, link, ANY, healthy)
    assert versions(link) == ["two", "three", "four"]
    assert roll_back(link, ANY, healthy).name == "three"
    assert roll_back(link, ANY, healthy).name == Bundle.open(link).name == "two"
    with pytest.raises(BundleError, match="expected a version before the current one, found none"):
        roll_back(link, ANY, healthy)
    install(three[0], link, ANY, healthy)
    assert versions(link) == ["two", "one"]


def test_what_a_first_install_left_when_it_was_killed_is_no_version_to_go_back_to(
        link: Path, three: list[Path]) -> None:
    left, _ = install(three[0], link, ANY, healthy)
    link.unlink()   # as if it had been killed before the switch
    install(three[1], link, ANY, healthy)
    assert versions(link) == ["two"]
    assert not left.path.exists()


def test_the_same_bundle_again_is_tried_again_on_this_device(link: Path, three: list[Path]) -> None:
    def ill(bundle: Bundle) -> None:
        raise BundleError(f"{bundle.name} is ill")

    install(three[0], link, ANY, healthy)
    with pytest.raises(BundleError, match="one is ill"):
        install(three[0], link, ANY, ill)
    assert Bundle.open(link).name == "one"


def test_the_same_bundle_again_changes_nothing_and_mends_what_is_damaged(link: Path, three: list[Path]) -> None:
    first, _ = install(three[0], link, ANY, healthy)
    again, changed = install(three[0], link, ANY, healthy)
    assert (again.path, changed) == (first.path, False)
    (first.path / "weights.bin").write_bytes(b"")
    mended, changed = install(three[0], link, ANY, healthy)
    assert changed
    assert Bundle.open(link).path == mended.path != first.path
    assert versions(link) == ["one"], "a damaged version is none to go back to"


def test_the_same_bundle_signed_since_is_another(link: Path, three: list[Path]) -> None:
    key = new_key()
    install(three[0], link, ANY, healthy)
    (three[0] / SIGNATURE).write_text(signed_by(key, (three[0] / "manifest.json").read_bytes()))
    trust = Trust(keys=(public_key(key),))
    assert install(three[0], link, trust, healthy)[1]
    assert open_trusted(link, trust).signers == (public_key(key),)


def test_a_bundle_that_is_not_healthy_here_never_takes_the_place_of_one_that_is(
        link: Path, three: list[Path]) -> None:
    def ill(bundle: Bundle) -> None:
        assert Bundle.open(link).name == "one", "health is asked before anything is switched"
        raise BundleError(f"{bundle.name}: expected other embeddings")

    install(three[0], link, ANY, healthy)
    with pytest.raises(BundleError, match=r"two: expected other embeddings \(nothing was changed: 0001-\w+ stays\)"):
        install(three[1], link, ANY, ill)
    assert Bundle.open(link).name == "one"
    assert versions(link) == ["one"]


def test_going_back_to_what_is_ill_or_damaged_is_refused_too(link: Path, three: list[Path]) -> None:
    def ill(bundle: Bundle) -> None:
        raise BundleError("ill")

    before, _ = install(three[0], link, ANY, healthy)
    install(three[1], link, ANY, healthy)
    with pytest.raises(BundleError, match="ill"):
        roll_back(link, ANY, ill)
    with pytest.raises(BundleError, match="nobody signed"):
        roll_back(link, Trust(), healthy)
    (before.path / "weights.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"weights\.bin"):
        roll_back(link, ANY, healthy)
    assert Bundle.open(link).name == "two"


def test_health_is_both_golden_pairs_and_the_search(tmp_path: Path) -> None:
    tiny = copy_tiny(tmp_path)
    check_health(Bundle.open(tiny))
    for modality, other in (("visible", "infrared"), ("infrared", "visible")):
        changed = Path(shutil.copytree(tiny, tmp_path / modality))
        shutil.copy(changed / f"{other}.onnx", changed / f"{modality}.onnx")
        reseal(changed)
        with pytest.raises(BundleError, match=f"{modality}.onnx: expected the golden embeddings"):
            check_health(Bundle.open(changed))
    reseal(tiny, lambda manifest: manifest["retrieval"].update(rank1=0.0, mean_ap=0.0))
    with pytest.raises(BundleError, match="on the validation crops"):
        check_health(Bundle.open(tiny))


def test_a_bundle_nobody_trusts_is_not_even_copied(link: Path, three: list[Path]) -> None:
    with pytest.raises(BundleError, match="nobody signed"):
        install(three[0], link, Trust(), healthy)
    assert not link.parent.exists()


def test_what_is_trusted_is_the_copy_and_not_what_the_source_was_before(
        link: Path, three: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    key, honest = new_key(), module._copy
    (three[0] / SIGNATURE).write_text(signed_by(key, (three[0] / "manifest.json").read_bytes()))

    def swapped(bundle: Bundle, folder: Path) -> None:
        (bundle.path / SIGNATURE).unlink()
        reseal(bundle.path, lambda manifest: manifest.update(made_by="a thief"))
        honest(bundle, folder)

    monkeypatch.setattr(module, "_copy", swapped)
    with pytest.raises(BundleError, match="nobody signed"):
        install(three[0], link, Trust(keys=(public_key(key),)), healthy)
    assert not link.is_symlink()


def test_two_installs_at_once_are_one_and_a_sentence(link: Path, three: list[Path]) -> None:
    def meanwhile(bundle: Bundle) -> None:
        with pytest.raises(Transient, match="expected no other install, found one at work"):
            install(three[1], link, ANY, healthy)

    assert install(three[0], link, ANY, meanwhile)[0].name == "one"
    with (link.with_name("bundle.versions") / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Transient, match="wait for it to end"):
            roll_back(link, ANY, healthy)


@pytest.mark.parametrize(("number", "kind", "says"), [
    (errno.ENOSPC, DiskFull, "free some space and install again"),
    (errno.EDQUOT, DiskFull, "the bundle in use was not touched"),
    (errno.EROFS, ConfigError, "Read-only file system"), (errno.EACCES, ConfigError, "run this as the folder's owner")])
@pytest.mark.parametrize("what", ["mkdir", "write_bytes", "symlink_to"])
def test_a_disk_that_takes_no_more_leaves_the_bundle_in_use_as_it_was(
        what: str, number: int, kind: type[Exception], says: str, link: Path, three: list[Path],
        monkeypatch: pytest.MonkeyPatch) -> None:
    install(three[0], link, ANY, healthy)
    honest, count = getattr(Path, what), 0

    def refuse(path: Path, *args: Any, **named: Any) -> Any:
        nonlocal count
        count += path.name != "bundle.versions"
        if count == (3 if what == "write_bytes" else 1):
            raise OSError(number, os.strerror(number), str(path))
        return honest(path, *args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(Path, what, refuse)
        with pytest.raises(kind, match=says):
            install(three[1], link, ANY, healthy)
    assert Bundle.open(link).name == "one"
    if what != "symlink_to":
        assert versions(link) == ["one"], "nothing half-copied is left"
    assert install(three[1], link, ANY, healthy)[0].name == "two"
    assert versions(link) == ["one", "two"]


@pytest.mark.parametrize("what", ["folder", "file", "foreign link"])
def test_what_no_install_made_is_never_replaced(what: str, link: Path, three: list[Path]) -> None:
    link.parent.mkdir()
    if what == "folder":
        shutil.copytree(three[0], link)
    elif what == "file":
        link.write_text("mine")
    else:
        link.symlink_to(three[0])
    with pytest.raises(ConfigError, match="expected a link that an install made"):
        install(three[1], link, ANY, healthy)
    assert link.is_symlink() == (what == "foreign link")


@pytest.mark.parametrize("what", ["file", "link into nothing", "file above"])
def test_what_is_no_folder_for_versions_is_told_as_that(what: str, link: Path, three: list[Path]) -> None:
    versions = link.with_name("bundle.versions")
    if what == "file above":
        link.parent.write_text("mine")
    else:
        link.parent.mkdir()
        versions.write_text("mine") if what == "file" else versions.symlink_to("nowhere")
    named = link.parent if what == "file above" else versions
    with pytest.raises(ConfigError, match=rf"^{named}: expected a folder for the versions of a bundle, .* move it"):
        install(three[0], link, ANY, healthy)
    assert named.is_symlink() or named.read_text() == "mine"


def command(config: Path, *words: str | Path) -> int:
    return cli.main(["bundle", *map(str, words), "--config", str(config)])


def test_the_command_reads_place_and_trust_where_the_daemon_does(
        tmp_path: Path, three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "gate.toml"
    config.write_text('data = "data"\nbundle = "bundle"\n[trust]\nallow_unsigned_bundle = true\n')
    assert command(config, "install", three[0]) == 0
    assert "installed     one as" in capsys.readouterr().out
    assert command(config, "install", three[0]) == 0
    assert "in its place  one" in capsys.readouterr().out
    assert command(config, "install", three[1]) == 0
    assert command(config, "install", "--rollback") == 0
    assert "back to       one" in capsys.readouterr().out
    assert command(config, "show") == 0
    assert "name          one" in capsys.readouterr().out
    config.write_text(config.read_text().replace("true", "false"))
    for words in (["show"], ["verify", three[1]], ["install", three[1]], ["install", "--rollback"]):
        assert command(config, *words) == 65, words


def test_a_second_bundle_lies_beside_the_one_in_use_until_settings_name_it(
        tmp_path: Path, three: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    config, link, second = (tmp_path / name for name in ("gate.toml", "bundle", "new"))
    config.write_text('bundle = "bundle"\n[trust]\nallow_unsigned_bundle = true\n')
    assert command(config, "install", three[0]) == 0
    assert command(config, "install", three[1], "--to", second) == 0
    assert "settings that name it use it from their next start" in capsys.readouterr().out
    assert (Bundle.open(link).name, Bundle.open(second).name) == ("one", "two")
    assert versions(link) == ["one"]
    config.write_text('bundle = "new"\nalso = "bundle"\nalso_until = 2026-12-03T06:00:00Z\n'
                      '[trust]\nallow_unsigned_bundle = true\n')
    assert command(config, "install", three[2]) == 0
    assert command(config, "install", "--rollback", "--to", second) == 0
    assert (Bundle.open(link).name, Bundle.open(second).name) == ("one", "two")


def only_onnxruntime(bundle: Bundle, **named: int) -> list[Any]:
    return [c for c in race.candidates(bundle, **named) if c.entrant == results.SAFE]


def test_a_camera_that_leaves_the_engine_to_us_races_before_it_switches(
        tmp_path: Path, three: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "candidates", only_onnxruntime)
    config = tmp_path / "gate.toml"
    config.write_text('device = "gate"\nbundle = "bundle"\ntrust = {allow_unsigned_bundle = true}\n'
                      'engine = {threads = 2, packing = "int8"}\n[[cameras]]\nname = "north"\n')
    assert command(config, "install", three[0]) == 0
    said = capsys.readouterr().out
    assert said.startswith("fastest here  onnxruntime fp32\ninstalled     one")
    assert isinstance(results.kept(Bundle.open(tmp_path / "bundle"), results.machine(), 2), results.Race)
    assert command(config, "install", three[2]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(module, "candidates", None)     # going back must not take as long as going on
        assert command(config, "install", "--rollback") == 0
    assert "fastest here  onnxruntime fp32, as raced on 20" in capsys.readouterr().out
    (tmp_path / "cache").rename(tmp_path / "before")
    (tmp_path / "cache").write_text("in the way")
    assert command(config, "install", three[1]) == 0
    assert "fastest here  onnxruntime fp32 (not kept: " in capsys.readouterr().out


def test_a_bundle_that_no_engine_of_this_device_runs_is_not_installed(
        tmp_path: Path, three: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "candidates", lambda bundle, **named: [
        replace(c, excluded="needs luck") for c in only_onnxruntime(bundle, **named)])
    config = tmp_path / "gate.toml"
    config.write_text('bundle = "bundle"\ntrust = {allow_unsigned_bundle = true}\n[[cameras]]\nname = "north"\n')
    assert command(config, "install", three[0]) == 69
    assert "onnxruntime fp32 needs luck (nothing was changed: there is no bundle yet)" in capsys.readouterr().err
    assert not (tmp_path / "bundle").is_symlink()
    config.write_text(config.read_text().replace("[[", 'engine = {name = "tensorrt"}\n[['))
    assert command(config, "install", three[0]) == 69, "the engine that the settings name must run it"
    config.write_text(config.read_text().replace('"tensorrt"', '"onnxruntime", precision = "int8"'))
    assert command(config, "install", three[0]) == 65, "so must it in the precision they name"
    assert not (tmp_path / "bundle").is_symlink()


@pytest.mark.parametrize(("words", "text", "code", "says"), [
    (["install", "NEW"], None, 2, "and the settings it is for"),
    (["install"], "", 2, "expected a bundle or --rollback"),
    (["install", "NEW", "--rollback"], "", 2, "expected a bundle or --rollback"),
    (["show", "--rollback"], "", 2, "expected a bundle or --rollback"),
    (["show", "NEW", "--to", "new"], "", 2, "expected a bundle or --rollback"),
    (["install", "NEW"], "", 78, 'write bundle = "bundle", or say --to'),
    (["install", "none"], 'bundle = "b"', 65, "expected a bundle"),
    (["install", "NEW"], 'bundle = "b"\n[trust]\nkey = []', 78, "unknown key 'key' in [trust]; did you mean 'keys'?"),
    (["install", "NEW"], "bundle = 3", 78, "line 1"),
    (["install", "--rollback"], 'bundle = "b"', 65, "expected a version before"),
    (["install", "NEW"], 'bundle = "b"\n[engine]\nprecision = "int8"', 78,
     """line 3: expected no 'engine.precision' with name = "auto", which chooses it, found 'int8'; remove"""),
])
def test_words_and_settings_that_do_not_do_are_one_sentence(
        words: list[str], text: str | None, code: int, says: str, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    new = copy_tiny(tmp_path)
    config = tmp_path / "gate.toml"
    config.write_text(text or "")
    given = [str(new) if word == "NEW" else word for word in words]
    assert cli.main(["bundle", *given, *(() if text is None else ("--config", str(config)))]) == code
    said = capsys.readouterr()
    assert says in said.err
    assert len(said.err.splitlines()) == 1


# A process that never opens an engine itself forks one child a try: to install until the n-th thing
# done to the disk, and to see what a camera would find then.
KILL_SCRIPT = """
import os, random, signal, sys
from pathlib import Path
from cmnas_edge.bundle import Bundle, Trust
from cmnas_edge.install import check_health, install, roll_back
trust = Trust(allow_unsigned_bundle=True)
link, sources, tries = Path(sys.argv[1]), [Path(p) for p in sys.argv[2:5]], int(sys.argv[5])
rng = random.Random(int(sys.argv[6]))
CHANGES = ("open", "os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.chmod")

def child(work):
    number = os.fork()
    if number == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

def doing(last, rollback, source):
    seen = switch = 0
    def watch(event, args):
        nonlocal seen, switch
        if event in CHANGES and str(link.parent) in str(args[0]) + str(args[1] if len(args) > 1 else ""):
            seen += 1
            if event == "os.rename":
                switch = seen
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    if rollback:
        roll_back(link, trust)
    else:
        install(source, link, trust)
    if not last:
        (link.parent / "count").write_text(f"{seen} {switch}")

def whole():
    bundle = Bundle.open(link)
    assert bundle.name in {source.parent.name for source in sources}
    check_health(bundle)

assert child(lambda: install(sources[0], link, trust)) == 0
assert child(lambda: install(sources[1], link, trust)) == 0
assert child(lambda: doing(0, False, sources[2])) == 0
points, switch = map(int, (link.parent / "count").read_text().split())
killed = 0
for number in range(tries):
    # A kill comes just before what it is counted by. The first ones lie around the switch, the others anywhere.
    last = switch - 2 + number if number < 5 else rng.randint(1, points)
    source = next(s for s in rng.sample(sources, 3) if s.parent.name != Bundle.open(link).name)
    killed += child(lambda: doing(last, number > 5 and rng.random() < 0.1, source)) == -signal.SIGKILL
    if child(whole) != 0:
        sys.exit(f"after a kill at {last} of {points} there was no healthy bundle")
assert child(lambda: install(sources[0], link, trust)) == 0
assert child(lambda: install(sources[1], link, trust)) == 0
assert child(lambda: roll_back(link, trust)) == 0
print("killed", killed, "points", points, "left", *sorted(os.listdir(link.parent / "bundle.versions")))
"""


@pytest.mark.prove
@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_at_any_moment_there_is_a_whole_healthy_bundle(
        link: Path, three: list[Path], record_property: Callable[[str, object], None]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILL_SCRIPT, str(link), *map(str, three), str(4 * KILLS), str(random.randrange(10**6))],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    words = ran.stdout.splitlines()[-1].split()
    record_property("kills", int(words[1]))
    assert int(words[1]) > 2 * KILLS, "most of the tries are killed"
    kept = len([word for word in words if "-" in word])
    assert 2 <= kept <= 3, ran.stdout   # going back to one leaves fewer before it
