"""The command line of ``python -m export``, and the verbs that need neither torch nor onnx to do their work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cmnas_edge import engine_commands
from cmnas_edge.calibration.fit import PRIOR, RATES
from export import signing
from export.precision import METHODS, PEOPLE

__all__ = ["parse"]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what is parsed has a ``work`` that does it, or a ``module`` that has one."""
    parser = argparse.ArgumentParser("python -m export", description="Turn checkpoints into bundles.")
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="fold, write as ONNX, prove parity, calibrate, seal")
    packing.add_argument("checkpoint", type=Path, help="written by python -m train")
    packing.add_argument("--out", type=Path, required=True, help="the folder to become a bundle")
    packing.add_argument("--name", help="what the bundle calls itself; default: the checkpoint's file name")
    packing.add_argument("--drawn-identities", type=int, default=96, help="people the thresholds are found on")
    packing.add_argument("--validation-identities", type=int, default=32,
                         help="people whose drawn crops go along, for retrieval checks on a device; 0 for none")
    packing.add_argument("--replace", action="store_true", help="replace a bundle that is there")
    quantizing = commands.add_parser("quantize", help="add graphs of lower precision that pass the gate to a bundle")
    quantizing.add_argument("bundle", type=Path, help="a bundle; it stays as it is")
    quantizing.add_argument("--out", type=Path, required=True, help="the folder to become a bundle")
    quantizing.add_argument("--replace", action="store_true", help="replace a bundle that is there")
    for command in (packing, quantizing):
        _add_precisions(command)
        command.set_defaults(module="export.commands")
    _add_calibrate(commands.add_parser("calibrate", help="find thresholds and what scores are worth, for a bundle"))
    signing.add_commands(commands)
    engine_commands.add_build_arguments(commands.add_parser(
        "engine", help="make TensorRT plans of a bundle's graphs, for this very device"))
    return parser.parse_args(argv)


def _add_calibrate(command: argparse.ArgumentParser) -> None:
    command.set_defaults(module="export.recalibrate")
    command.add_argument("bundle", type=Path, help="a bundle; its thresholds, card and manifest are replaced")
    command.add_argument("--data", type=Path, metavar="DIR",
                         help="a dataset, or a folder of your own people (people/17/entrance/visible/*.jpg); "
                              "default: drawn people")
    command.add_argument("--part", help="of the dataset; default: whom nobody learns from (test; of your own folder: "
                                        "validation; trainval if the network never saw them)")
    command.add_argument("--identities", type=int, default=96, metavar="N",
                         help="drawn people (default 96, and as many to check with)")
    command.add_argument("--per-camera", type=int, default=2, metavar="N",
                         help="crops of a person under a camera, at most (default 2)")
    command.add_argument("--rate", type=float, default=1e-3, help="share of strangers that may match (default 0.001)")
    command.add_argument("--unsure-rate", type=float, default=1e-2, metavar="RATE",
                         help="share of strangers that may reach the abstain band (default 0.01)")
    command.add_argument("--rates", default=",".join(f"{rate:g}" for rate in RATES), metavar="LIST",
                         help="others at which thresholds are told (default %(default)s)")
    command.add_argument("--prior", type=float, default=PRIOR,
                         help=f"share of pairs that are one person before anybody looks (default {PRIOR:g})")
    command.add_argument("--resamples", type=int, default=500, metavar="N",
                         help="of the people, for the intervals (default 500)")
    command.add_argument("--picture", type=Path, default=Path("calibration.png"), metavar="FILE",
                         help="histograms and error curves (default calibration.png)")
    command.add_argument("--dry-run", action="store_true", help="tell and draw everything, and leave the bundle alone")


def _add_precisions(command: argparse.ArgumentParser) -> None:
    command.add_argument("--precisions", default="all", metavar="LIST",
                         help="of int8_fp16,int8,fp16,bf16, tried beside fp32; default: all; fp32 for none of them")
    command.add_argument("--crops", type=Path, metavar="DIR",
                         help="pictures in folders named visible and infrared, for int8 ranges; default: drawn ones")
    command.add_argument("--method", choices=METHODS, default="entropy", help="how int8 ranges are found")
    command.add_argument("--gate-people", type=int, default=PEOPLE, metavar="N",
                         help=f"drawn people who are searched; more bound losses closer (default {PEOPLE})")
