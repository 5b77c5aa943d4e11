"""The unit of a collector."""

from __future__ import annotations

from pathlib import Path

from cmnas_edge import config
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.service import files, network
from cmnas_edge.service.unit import PROGRAM, Unit, program, word

__all__ = ["unit"]

# It is heard of every ten seconds, unless it reads its window anew after an erasure: of 200,000 sightings, a minute.
_WATCHDOG_S = 300


def unit(path: Path, name: str | None = None) -> Unit:
    """Write the unit that runs a collector's settings.

    Args:
        path: The settings file.
        name: Of the unit; None: ``cmnas-edge-collector``.

    Raises:
        ConfigError: As `cmnas_edge.collector.settings.load`; or a file lies where the service can't reach it.
    """
    path = path.absolute()
    settings = collector_settings.load(path)
    is_one_of_several, name = name is not None, name or "cmnas-edge-collector"
    state = files.state_folder({"data": settings.data, "keys": settings.keys}, name, own=is_one_of_several,
                               least_depth=1)
    secrets = [settings.tls_key, settings.master_key, *settings.seal_keys]
    read = [settings.bundle, *settings.also, *settings.also_calibration, settings.tls_certificate]
    hosts = []
    if settings.mqtt is not None:
        secrets.append(settings.mqtt.certificate_key)
        read += [settings.mqtt.certificate, settings.mqtt.certificate_authority]
        hosts = [host for host in [network.host_of(settings.mqtt.broker)] if host]
    open_settings = files.open_to_all(path)
    listens, port = config.address(settings.listen, f"{path}: listen")
    command = [*program(), "collector", str(path)]
    remarks = files.unreadable([*read, *PROGRAM])
    remarks.append(f"devices are enrolled as the service's user, while it runs: runuser -u {name} -- {command[0]} "
                   "collector enrol DEVICE --config ...")
    if port and port < 1024:
        remarks.append(f"listen: port {port} is for root alone, which the service is not: take one from 1024 on")
    if settings.keys_copy is not None:
        remarks.append(f"keys_copy: {settings.keys_copy} must be a folder that the service's user may write to")
    if listens.is_loopback:
        fence = network.allowed(hosts, loopback=True)
    else:
        fence = ["# Cameras and people come from everywhere, so nobody is shut out. If yours are all in one network,",
                 "# add: IPAddressDeny=any and IPAddressAllow=10.0.0.0/8 localhost"]
    service = [
        "TimeoutStartSec=300",
        f"WatchdogSec={_WATCHDOG_S}",
        "",
        "# What it keeps.",
        f"StateDirectory={state}", "StateDirectoryMode=0700",
        *([f"ReadWritePaths={word(str(settings.keys_copy), is_program=True)}"] if settings.keys_copy else []),
        *files.credentials([*secrets, None if open_settings else path]),
        files.home_line([path, *PROGRAM, *read]),
        "PrivateDevices=yes", "PrivateUsers=yes",
        "",
        *fence,
    ]
    return Unit(name=name, printed_by=f"Printed by: cmnas-edge service print {path} --room collector",
                about="cmnas_edge: collector", command=command, service=service, remarks=remarks)
