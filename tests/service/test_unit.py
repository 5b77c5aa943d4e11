"""The unit that is printed is one that systemd takes, holds the service tightly, and lets in no address but its own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cmnas_edge import cli, service
from cmnas_edge.errors import ConfigError
from cmnas_edge.service import camera, files, network, unit

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None,
                                   reason="no systemd-analyze: install the package systemd")
CAMERA = """
device = "gate"
collector = "{collector}"
token = "gate.token"
spool = {{path = "/var/lib/cmnas-edge/gate.db"}}
{more}
[[cameras]]
name = "north"
source = {source}
"""
COLLECTOR = 'data = "/var/lib/cmnas-edge-collector"\nseal_keys = ["seal.pem"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where settings lie; a test's folder is a temporary one, which a service would not see."""
    monkeypatch.setattr(files, "_HIDDEN", ())
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[..., Path]:
    def written(collector: str = "https://10.0.0.1:8700", source: str = '{location = "rtsp://u:hunter2@10.0.0.7/live"}',
                more: str = "") -> Path:
        path = folder / "gate.toml"
        path.write_text(CAMERA.format(collector=collector, source=source, more=more))
        return path

    return written


def lines(path: Path, room: str = "camera") -> list[str]:
    return str(service.unit_of(path, room)).splitlines()


def fence(found: list[str]) -> list[str]:
    return [line for line in found if line.startswith("IPAddress")]


def exposure(text: str, folder: Path, name: str) -> float:
    """What systemd thinks of a unit: it must find nothing wrong, and says how exposed it is."""
    path = folder / f"{name}.service"
    path.write_text(text)
    verified = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr.strip()) == (0, "")
    judged = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
                            capture_output=True, text=True, check=True)
    score = re.search(r"exposure level for .*: ([\d.]+)", judged.stdout)
    assert score, judged.stdout[-300:]
    return float(score[1])


@needs_systemd
@pytest.mark.parametrize("source", [
    '{location = "rtsp://10.0.0.7/live"}', '{location = "/dev/video0"}', '{location = "csi://0"}',
    '{location = "rtsp://camera.invalid/live", pipeline = "jetson"}'])
def test_systemd_takes_a_cameras_unit_and_finds_it_hardly_exposed(
        write: Callable[..., Path], folder: Path, source: str) -> None:
    path = write(source=source, more='health = "127.0.0.1:9464"')
    assert exposure(str(service.unit_of(path, "camera")), folder, "cmnas-edge") <= 3.0


@needs_systemd
@pytest.mark.parametrize("listen", ["127.0.0.1:8700", "0.0.0.0:8700"])
def test_systemd_takes_a_collectors_unit_and_finds_it_hardly_exposed(folder: Path, listen: str) -> None:
    path = folder / "collector.toml"
    path.write_text(COLLECTOR + f'listen = "{listen}"\nallow_plain_http_off_loopback = true\n')
    assert exposure(str(service.unit_of(path, "collector")), folder, "cmnas-edge-collector") <= 3.0


@needs_systemd
def test_the_judge_would_find_an_open_unit_exposed(write: Callable[..., Path], folder: Path) -> None:
    text = str(service.unit_of(write(), "camera"))
    for line in unit._FENCE.splitlines():
        text = text.replace(line + "\n", "")
    assert exposure(text, folder, "open") > 3.0


def test_everybody_is_shut_out_but_the_collector_and_the_cameras(write: Callable[..., Path]) -> None:
    found = lines(write(collector="https://[fd00::1]:8700"))
    assert fence(found) == ["IPAddressDeny=any", "IPAddressAllow=fd00::1", "IPAddressAllow=10.0.0.7"]
    assert not any("hunter2" in line for line in found), "a unit is readable by everybody"


def test_this_machine_is_let_in_only_if_it_is_asked_about_its_health(write: Callable[..., Path]) -> None:
    assert "IPAddressAllow=localhost" not in lines(write())
    assert "IPAddressAllow=localhost" in lines(write(more='health = "127.0.0.1:9464"'))


def test_names_cannot_be_pinned_and_that_is_told(tmp_path: Path) -> None:
    resolvers = tmp_path / "resolv.conf"
    resolvers.write_text("# ours\nnameserver 10.0.0.53\nsearch example\nnameserver fe80::1%eth0\n")

    def resolve(name: str) -> list[str]:
        if name == "gone.example":
            raise OSError
        return ["10.0.0.1", "fd00::1"]

    found = network.allowed(["collector.example", "gone.example"], resolvers=resolvers, resolve=resolve)
    assert fence(found) == ["IPAddressDeny=any", "IPAddressAllow=10.0.0.1", "IPAddressAllow=fd00::1",
                            "IPAddressAllow=10.0.0.53", "IPAddressAllow=fe80::1"]
    remarks = "\n".join(line for line in found if line.startswith("#"))
    assert "collector.example is a name and cannot be pinned: this is where it led" in remarks
    assert "gone.example is a name and cannot be pinned: it led nowhere" in remarks
    assert "53" not in "".join(fence(network.allowed(["10.0.0.1"], resolvers=resolvers))), "no name, no name server"


def test_a_host_cannot_write_lines_of_its_own() -> None:
    def nowhere(name: str) -> list[str]:
        raise OSError

    found = network.allowed(["evil\nIPAddressAllow=any"], resolve=nowhere)
    assert "IPAddressAllow=any" not in "\n".join(found).splitlines()


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's devices: none of a GPU, whatever is where this runs."""
    (tmp_path / "dev").mkdir()
    monkeypatch.setattr(camera, "_DEV", tmp_path / "dev")
    return tmp_path / "dev"


CHOSEN = 'engine = {name = "onnxruntime"}'
DETECTS = '{{location = "rtsp://10.0.0.7/live"}}\ndetector = {{engine = "{}"}}'


@pytest.mark.parametrize(("nodes", "groups"), [
    (["nvidia0", "nvidiactl", "nvidia-uvm"], ["char-nvidia*"]),
    (["nvhost-ctrl", "nvhost-gpu", "nvmap", "nvgpu/igpu0"], ["char-nvhost*", "char-nvgpu*", "char-nvmap"]),
])
@pytest.mark.parametrize(("source", "more"), [
    ('{location = "rtsp://10.0.0.7/live"}', ""), (DETECTS.format("auto"), CHOSEN)])
def test_an_engine_left_to_us_may_be_tensorrt_where_there_is_a_gpu(
        write: Callable[..., Path], dev: Path, nodes: list[str], groups: list[str], source: str, more: str) -> None:
    for node in nodes:
        (dev / node).mkdir(parents=True)
    found = lines(write(source=source, more=more))
    assert [line for line in found if line.startswith("DeviceAllow")] == [f"DeviceAllow={group} rw" for group in groups]
    assert not any(line.startswith("Private") and line.endswith(("Devices=yes", "Users=yes")) for line in found)
    assert any('is "auto", which may be TensorRT: the NVIDIA GPU of the machine' in line for line in found)


def test_where_no_engine_may_be_tensorrt_a_gpu_stays_out_of_reach(write: Callable[..., Path], dev: Path) -> None:
    (dev / "nvidia0").touch()
    found = lines(write(source=DETECTS.format("onnxruntime"), more=CHOSEN))
    assert "PrivateDevices=yes" in found
    assert not any("DeviceAllow" in line or '"auto"' in line for line in found)


@needs_systemd
def test_a_unit_with_a_gpu_is_hardly_exposed_either(write: Callable[..., Path], folder: Path, dev: Path) -> None:
    (dev / "nvidia0").touch()
    text = str(service.unit_of(write(), "camera"))
    assert "DeviceAllow=char-nvidia* rw" in text
    assert exposure(text, folder, "cmnas-edge") <= 3.0


@pytest.mark.parametrize(("more", "node", "command"), [
    ('engine = {threads = 2}\nbundle = "my bundle"', "nvidia0",
     "-p SupplementaryGroups=video {program} engine race '{folder}/my bundle' --threads 2"),
    ("", "null", "{program} engine race"),
])
def test_the_command_that_races_where_the_service_looks_and_as_its_user_is_printed(
        write: Callable[..., Path], folder: Path, dev: Path, more: str, node: str, command: str) -> None:
    (dev / node).touch()
    found = lines(write(more=more))
    (said,) = (line.removeprefix("#").strip() for line in found if "engine race" in line and "systemd-run" in line)
    program = unit.program()[0]
    assert said == ("systemd-run --pipe --collect -p DynamicUser=yes -p User=cmnas-edge -p CacheDirectory=cmnas-edge "
                    "-p CacheDirectoryMode=0700 -E XDG_CACHE_HOME=/var/cache/cmnas-edge "
                    + command.format(program=program, folder=folder))
    own = {line.partition("=")[0]: line.partition("=")[2] for line in found if line.startswith(("Cache", "Environ"))}
    assert own == {"CacheDirectory": "cmnas-edge", "CacheDirectoryMode": "0700",
                   "Environment": "XDG_CACHE_HOME=/var/cache/cmnas-edge"}, "what the service has, the command has"


def test_where_the_engine_is_named_and_needs_no_plan_nothing_is_said_of_races(write: Callable[..., Path]) -> None:
    assert not any("engine race" in line for line in lines(write(more=CHOSEN)))


@pytest.mark.parametrize(("source", "more", "wanted", "unwanted"), [
    ('{location = "rtsp://10.0.0.7/live"}', "", "PrivateDevices=yes", "DeviceAllow"),
    ('{location = "/dev/video3"}', "", "DeviceAllow=/dev/video3 rw", "PrivateDevices"),
    ('{location = "csi://0"}', "", camera._ARGUS, "PrivateDevices"),
    ('{location = "rtsp://10.0.0.7/live"}', 'engine = {name = "tensorrt"}', "DeviceAllow=char-nvidia* rw",
     "PrivateDevices"),
    ('{location = "rtsp://10.0.0.7/live", pipeline = "jetson"}', "", "DeviceAllow=char-nvhost* rw", "PrivateDevices"),
])
def test_where_there_is_no_gpu_it_gets_no_device_but_those_its_settings_name(
        write: Callable[..., Path], dev: Path, source: str, more: str, wanted: str, unwanted: str) -> None:
    found = lines(write(source=source, more=more))
    assert wanted in found
    assert not any(line.startswith(unwanted) for line in found)


def test_secrets_are_handed_over_by_systemd(write: Callable[..., Path], folder: Path) -> None:
    found = lines(write(more='site_key = "keys/site.key"'))
    assert [line for line in found if line.startswith("LoadCredential=")] == [
        f"LoadCredential=gate.token:{folder}/gate.token", f"LoadCredential=site.key:{folder}/keys/site.key",
        f"LoadCredential=gate.toml:{folder}/gate.toml"], "the folder of a test is closed, and so are settings in it"


def test_two_secrets_of_one_name_are_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"secrets in files of different names.*found two called 'gate\.token'"):
        lines(write(more='site_key = "keys/gate.token"'))


def test_settings_that_everybody_may_read_are_read_where_they_lie(
        write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    monkeypatch.setattr(files, "open_to_all", lambda path: True)
    found = "\n".join(lines(path))
    assert "LoadCredential=gate.toml" not in found
    assert "reload would read the copy" not in found


@pytest.mark.parametrize(("more", "said"), [
    ('trace = "trace.jsonl"', "trace: expected it below /var/lib/cmnas-edge"),
    ('report = "/var/lib/other/report.json"', "report: expected it below /var/lib/cmnas-edge"),
    ('link = {sent_log = "sent.jsonl"}', "[link] sent_log: expected it below /var/lib/cmnas-edge"),
])
def test_what_it_could_not_write_is_refused(write: Callable[..., Path], more: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        lines(write(more=more))


def test_a_spool_beside_the_settings_is_refused_with_the_line_to_write(folder: Path) -> None:
    path = folder / "gate.toml"
    path.write_text(CAMERA.format(collector="https://10.0.0.1", more="", source='{location = "rtsp://10.0.0.7"}')
                    .replace("/var/lib/cmnas-edge/", ""))
    with pytest.raises(ConfigError, match=r'\[spool\] path: expected it below .*write "/var/lib/cmnas-edge/gate.db"'):
        lines(path)


def test_settings_among_temporary_files_are_refused(
        write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    monkeypatch.setattr(files, "_HIDDEN", (path.parent,))
    with pytest.raises(ConfigError, match="folder for temporary files"):
        lines(path)


def test_a_file_that_is_closed_to_the_service_is_named(write: Callable[..., Path], folder: Path) -> None:
    (folder / "ca.pem").write_text("")
    found = lines(write(more='link = {certificate_authority = "ca.pem"}'))
    assert any(f"{folder}/ca.pem is not readable by everybody" in line for line in found)


def test_the_watchdog_is_more_patient_than_the_most_patient_camera(write: Callable[..., Path]) -> None:
    def watchdog(source: str) -> int:
        return int(next(line for line in lines(write(source=source)) if line.startswith("WatchdogSec"))[12:])

    assert watchdog('{location = "rtsp://10.0.0.7"}') == 30
    assert watchdog('{location = "rtsp://10.0.0.7", silence_s = 60.0}') > 2 * 60
    assert watchdog('{location = "rtsp://10.0.0.7", max_fps = 0.02}') > 100


@pytest.mark.parametrize("name", ["t\u00f6ken", "to\\ken", "to%ken", "a:b", "token ", "x" * 201])
def test_a_secret_that_systemd_would_not_hand_over_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a secret's file to be called by"):
        files.credentials([folder / name])
    assert files.credentials([folder / "my token's $1"])


@needs_systemd
def test_systemd_takes_folders_of_any_name(folder: Path) -> None:
    odd = folder / "it's 50%h \"of\" $HOME; \u00fc"
    odd.mkdir()
    (odd / "gate.toml").write_text(CAMERA.format(collector="https://10.0.0.1", source='{location = "rtsp://10.0.0.7"}',
                                                 more=""))
    assert exposure(str(service.unit_of(odd / "gate.toml", "camera")), folder, "odd") <= 3.0


@pytest.mark.parametrize("name", ["my gate", "50%h", "$x", "-x"])
def test_a_folder_that_systemd_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected a folder below /var/lib that is called by"):
        files.state_folder({"[spool] path": files.STATE / name / "gate.db"}, "cmnas-edge")


@needs_systemd
def test_a_copy_of_keys_may_lie_in_any_folder(folder: Path) -> None:
    (folder / "collector.toml").write_text(COLLECTOR + 'keys_copy = "/srv/my 50%h \'keys\'"\n')
    text = str(service.unit_of(folder / "collector.toml", "collector"))
    assert "ReadWritePaths=\"/srv/my 50%%h 'keys'\"\n" in text
    assert exposure(text, folder, "copy") <= 3.0


def test_a_path_cannot_write_lines_of_its_own(folder: Path) -> None:
    sly = folder / "x\nExecStartPre=true"
    sly.mkdir()
    (sly / "gate.toml").write_text(CAMERA.format(collector="https://10.0.0.1", source='{location = "rtsp://10.0.0.7"}',
                                                 more=""))
    with pytest.raises(ConfigError, match="expected paths of printable characters"):
        lines(sly / "gate.toml")


def test_a_dollar_stands_for_itself_in_the_path_of_a_program() -> None:
    assert unit.word("/opt/a$b/bin/x", is_program=True) == "/opt/a$b/bin/x"
    assert "ExecStart=/opt/a$b/x camera /etc/a$$b" in str(unit.Unit(
        name="x", printed_by="x", about="x", command=["/opt/a$b/x", "camera", "/etc/a$b"], service=[]))


@pytest.mark.parametrize(("text", "written"), [
    ("/usr/bin/x", "/usr/bin/x"), ("/a b/c", '"/a b/c"'), ("50%$x", "50%%$$x"), ('a"b', '"a\\"b"'),
    ("a\\b", '"a\\\\b"'), ("it's", '"it\'s"')])
def test_words_are_written_as_systemd_reads_them(text: str, written: str) -> None:
    assert unit.word(text) == written


def test_the_command_prints_it(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    assert cli.main(["service", "print", str(path), "--name", "gate-north"]) == 78
    assert 'write "/var/lib/gate-north/gate.db"' in capsys.readouterr().err, "two users cannot share one folder"
    path.write_text(path.read_text().replace("/var/lib/cmnas-edge/", "/var/lib/gate-north/"))
    assert cli.main(["service", "print", str(path), "--name", "gate-north"]) == 0
    out = capsys.readouterr().out
    assert "CacheDirectory=gate-north" in out
    assert "StateDirectory=gate-north" in out
    assert "ExecReload=/bin/kill -HUP $MAINPID" in out
    for name in ("../x", "9gate", "g" * 32):     # systemd would call its user otherwise
        assert cli.main(["service", "print", str(write()), "--name", name]) == 78
        assert "--name: expected a letter, and up to 30 more" in capsys.readouterr().err
