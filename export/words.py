"""The command line of ``python -m export``, and the verbs that need neither torch nor onnx to do their work."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cmnas_edge import engine_commands
from export import signing
from export.precision import METHODS, PEOPLE

__all__ = ["parse"]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what is parsed has a ``work`` that does it, but for ``pack`` and ``quantize``."""
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
    signing.add_commands(commands)
    engine_commands.add_build_arguments(commands.add_parser(
        "engine", help="make TensorRT plans of a bundle's graphs, for this very device"))
    return parser.parse_args(argv)


def _add_precisions(command: argparse.ArgumentParser) -> None:
    command.add_argument("--precisions", default="all", metavar="LIST",
                         help="of int8_fp16,int8,fp16,bf16, tried beside fp32; default: all; fp32 for none of them")
    command.add_argument("--crops", type=Path, metavar="DIR",
                         help="pictures in folders named visible and infrared, for int8 ranges; default: drawn ones")
    command.add_argument("--method", choices=METHODS, default="entropy", help="how int8 ranges are found")
    command.add_argument("--gate-people", type=int, default=PEOPLE, metavar="N",
                         help=f"drawn people who are searched; more bound losses closer (default {PEOPLE})")
