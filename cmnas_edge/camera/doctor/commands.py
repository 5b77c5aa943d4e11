"""``cmnas-edge doctor``: look at everything, say how it is, and end with the code of the first fault."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import msgspec

from cmnas_edge.camera.doctor import device, machine
from cmnas_edge.camera.doctor.finding import Finding, examined, fault
from cmnas_edge.camera.settings import load
from cmnas_edge.errors import CmnasError

__all__ = ["add_arguments", "findings", "run"]

_MARKS = {"fine": " ok ", "note": "note", "fault": "FAULT"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("config", type=Path, nargs="?", metavar="CONFIG.toml",
                        help="settings of this device: its model, disk, collector and cameras are looked at, too")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    parser.add_argument("--no-cameras", action="store_true", help="open no camera, as while a daemon has it")


def run(args: argparse.Namespace) -> int:
    """Look, print, and answer with the exit code of the first fault, or 0."""
    cv2.setNumThreads(1)
    said: list[Finding] = []
    for finding in findings(args.config, cameras=not args.no_cameras):
        said.append(finding)
        if not args.json:
            fix = f"\n      -> {finding.fix}" if finding.fix else ""
            sys.stdout.write(f"{_MARKS[finding.state]:<5} {finding.subject}: {finding.found}{fix}\n")
            sys.stdout.flush()
    if args.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode({"findings": said})).decode() + "\n")
    return next((finding.exit_code for finding in said if finding.state == "fault"), 0)


def findings(config: Path | None, *, cameras: bool = True) -> Iterator[Finding]:
    """Everything there is to look at, one after another; what fails is found, and the next is looked at.

    Args:
        config: Of the device; None: the machine alone.
        cameras: Whether to open them.
    """
    yield from examined("python", machine.python)
    yield from examined("opencv", machine.reading)
    yield from examined("engines", machine.engines)
    yield from examined("engine cache", machine.cache)
    yield from examined("clock", machine.clock)
    if config is None:
        return
    try:
        told = load(config)
    except CmnasError as error:
        yield fault("settings", error)
        return
    yield from examined("bundle", partial(device.model, told))
    yield from examined("disk", partial(device.disk, told))
    yield from examined("certificate", partial(device.certificate, told))
    yield from examined("collector", partial(device.collector, told))
    for camera in told.cameras if cameras else ():
        yield from examined(f"camera {camera.name}", partial(device.view, camera))
