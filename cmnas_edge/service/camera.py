"""The unit of a camera's daemon."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from cmnas_edge.camera import settings as camera_settings
from cmnas_edge.camera.running.pulse import MARGIN_S, patience_s
from cmnas_edge.camera.settings import CameraSettings, DeviceSettings
from cmnas_edge.service import files, network
from cmnas_edge.service.unit import PROGRAM, Unit, program, word

__all__ = ["unit"]

_LEAST_WATCHDOG_S = 30
# Where NVIDIA's nvargus-daemon, which reads ribbon cameras, listens on every Jetson: its fixed address, which nobody
# can choose, and no temporary file of ours.
_ARGUS = "BindPaths=-/tmp/argus_socket"
# NVIDIA's devices as systemd groups them, and what of a group lies in /dev.
_GPU = {"char-nvidia*": "nvidia*", "char-nvhost*": "nvhost*", "char-nvgpu*": "nvgpu*", "char-nvmap": "nvmap"}
_DEV = Path("/dev")


def unit(path: Path, name: str | None = None) -> Unit:
    """Write the unit that runs a device's settings.

    Args:
        path: The settings file.
        name: Of the unit; None: ``cmnas-edge``.

    Raises:
        ConfigError: As `cmnas_edge.camera.settings.load`; or a file lies where the service can't reach it.
    """
    path = path.absolute()
    settings = camera_settings.load(path)
    is_one_of_several, name = name is not None, name or "cmnas-edge"
    link = settings.link
    state = files.state_folder({"[spool] path": settings.spool.path, "trace": settings.trace,
                                "report": settings.report, "[link] sent_log": link.sent_log,
                                "[link] sent_log_tls_keys": link.sent_log_tls_keys}, name, own=is_one_of_several)
    secrets = [settings.token, settings.site_key, link.certificate_key]
    open_settings = files.open_to_all(path)
    read = [settings.bundle, settings.also, link.certificate_authority, link.certificate,
            *(camera.detector.path for camera in settings.cameras), *_footage(settings),
            *(camera.spectrum.modality_file for camera in settings.cameras)]
    command = [*program(), "camera", str(path)]
    remarks = files.unreadable([*read, *PROGRAM])
    if not open_settings:
        remarks.append(f"{path} is not readable by everybody, so the service is handed a copy when it starts: after a "
                       f"change there, systemctl restart {name}; reload would read the copy")
    if secrets and any(secrets):
        remarks.append(f"secrets are handed over when it starts: after a new one, systemctl restart {name}")
    if settings.engine.name in ("auto", "tensorrt"):
        remarks += _race(settings, name)
    longest_s = max(patience_s(c.source.silence_s, c.source.max_fps, c.source.fps) for c in settings.cameras)
    service = [
        "NotifyAccess=main",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "# Fed only while every camera gives frames or is said to be down.",
        f"WatchdogSec={max(_LEAST_WATCHDOG_S, math.ceil(2 * (longest_s + MARGIN_S)))}",
        "TimeoutStartSec=300",
        f"TimeoutStopSec={math.ceil(settings.drain_s) + 30}",
        "",
        "# What it keeps.",
        f"StateDirectory={state}", "StateDirectoryMode=0700",
        f"CacheDirectory={name}", "CacheDirectoryMode=0700", f"Environment=XDG_CACHE_HOME=/var/cache/{name}",
        *files.credentials([*secrets, None if open_settings else path]),
        files.home_line([path, *PROGRAM, *read]),
        "",
        *_devices(settings),
        "",
        *network.allowed(_hosts(settings), loopback=settings.health is not None),
    ]
    return Unit(name=name, printed_by=f"Printed by: cmnas-edge service print {path}",
                about=f"cmnas_edge: cameras of device {settings.device}", command=command,
                service=service, remarks=remarks)


def _hosts(settings: DeviceSettings) -> list[str]:
    urls = [settings.collector, *(camera.source.location for camera in settings.cameras)]
    return [host for url in urls if not url.startswith("csi:") and (host := network.host_of(url))]


def _footage(settings: DeviceSettings) -> list[Path]:
    return [Path(camera.source.location) for camera in settings.cameras
            if not urlsplit(camera.source.location).scheme and not camera.source.location.startswith("/dev/")]


def _race(settings: DeviceSettings, name: str) -> list[str]:
    """How the service comes by a race and by plans.

    Both are looked for in its own cache, and plans, being code, are taken from nobody but its user and root. So they
    are made by that user: systemd gives a transient unit of the same dynamic user the same folder.
    """
    bundle = [] if settings.bundle is None else [str(settings.bundle)]
    threads = ["--threads", str(settings.engine.threads)] if settings.engine.threads != 1 else []
    as_service = ["systemd-run", "--pipe", "--collect", "-p", "DynamicUser=yes", "-p", f"User={name}", "-p",
                  f"CacheDirectory={name}", "-p", "CacheDirectoryMode=0700", "-E", f"XDG_CACHE_HOME=/var/cache/{name}"]
    if _gpus():
        as_service += ["-p", "SupplementaryGroups=video"]
    command = shlex.join([*as_service, *program(), "engine", "race", *bundle, *threads])
    about = (f"races and TensorRT's plans are looked for in /var/cache/{name}, and made there by the service's user: "
             f"with \"engine build\" in place of \"engine race\" plans, then a race, then systemctl restart {name}:")
    return [about, f"  {command}"]


def _gpus() -> list[str]:
    """Groups of an NVIDIA GPU's devices that this machine has."""
    return [group for group, names in _GPU.items() if any(_DEV.glob(names))]


def _devices(settings: DeviceSettings) -> list[str]:
    """Only devices that the settings name or leave to us; with none of them the service has a /dev of its own."""
    wanted = [f"DeviceAllow={word(camera.source.location, is_program=True)} rw" for camera in settings.cameras
              if camera.source.location.startswith("/dev/")]
    ribbon = any(camera.source.location.startswith("csi:") for camera in settings.cameras)
    engines = {settings.engine.name, *(camera.detector.engine for camera in settings.cameras)}
    remarks = []
    if ribbon or any(map(_decodes_by_jetson, settings.cameras)) or "tensorrt" in engines:
        wanted += [f"DeviceAllow={group} rw" for group in _GPU]
    elif "auto" in engines and (here := _gpus()):
        remarks = ["# An engine is \"auto\", which may be TensorRT: the NVIDIA GPU of the machine that printed this."]
        wanted += [f"DeviceAllow={group} rw" for group in here]
    elif "auto" in engines:
        remarks = ["# An engine is \"auto\", and no NVIDIA GPU was where this was printed: with one, print it again."]
    if not wanted:
        return ["# No device but /dev/null and its like.", *remarks, "PrivateDevices=yes", "PrivateUsers=yes"]
    lines = ["# Devices that the settings name (those of a Jetson as documented: not measured on one).", *remarks,
             "DevicePolicy=closed", *dict.fromkeys(wanted), "SupplementaryGroups=video"]
    return [*lines, _ARGUS] if ribbon else lines


def _decodes_by_jetson(camera: CameraSettings) -> bool:
    pipeline = camera.source.pipeline or ""
    return pipeline.startswith("jetson") or "nvv4l2" in pipeline or "nvargus" in pipeline
