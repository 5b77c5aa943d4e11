"""``cmnas-edge engine build|race|prove|files``: graphs made runnable here, the fastest chosen, and the proof."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cmnas_edge.bundle import PRECISIONS, Bundle, Precision, default_path
from cmnas_edge.bundle.outside import check_outside
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import BundleError, CmnasError, ConfigError, DeviceError

if TYPE_CHECKING:
    from cmnas_edge.engine.results import Race

__all__ = ["add_arguments", "add_build_arguments", "run", "run_build"]

_MOST_BATCH = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add_build_arguments(actions.add_parser(
        "build", help="make TensorRT plans of a bundle's graphs, for this very device",
        description="Make TensorRT plans of a bundle's graphs, for this very device."))
    _add_race_arguments(actions.add_parser(
        "race", help="find the fastest engine and precision for a bundle here, for `name = \"auto\"` to use",
        description="Find the fastest engine and precision for a bundle on this device, among those that give its "
                    "golden embeddings and that its gate let pass. Cameras with `name = \"auto\"` in [engine], which "
                    "is the default, use the winner from their next start on."))
    _add_files_arguments(actions.add_parser(
        "files", help="write a bundle's graphs for trtexec and Triton",
        description="Write a bundle's graphs as TensorRT reads them, the trtexec lines that build them, and a model "
                    "repository for Triton. Needs no GPU. cmnas-edge itself loads only plans that `build` made."))
    from cmnas_edge.engine.prove_commands import add_prove_arguments  # noqa: PLC0415 - a room of its own

    add_prove_arguments(actions.add_parser(
        "prove", help="try a bundle on this device, and write down what to attach to a report",
        description="Try a bundle on this device: build, load, agreement with ONNX Runtime, every batch, thousands of "
                    "frames, memory. Writes a JSON and a picture to attach to a report."))


def run(args: argparse.Namespace) -> int:
    """Do what the command line says.

    Raises:
        CmnasError: It cannot be done; see `cmnas_edge.errors`.
    """
    work: Callable[[argparse.Namespace], int] = args.work
    return work(args)


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe how plans are built; also ``python -m export engine``."""
    parser.set_defaults(work=run_build)
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle's folder; default: the one that ships")
    parser.add_argument("--precision", action="append", metavar="P",
                        help="fp32, fp16, int8 or int8_fp16; may be given again; default: all the bundle has")
    parser.add_argument("--detector", type=Path, metavar="ONNX", help="build this detector's graph too")
    _add_choices(parser)
    parser.add_argument("--cache", type=Path, help="where plans are kept; default: $XDG_CACHE_HOME or ~/.cache")
    parser.add_argument("--again", action="store_true", help="build what is there already, too")


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--usual-batch", type=int, default=8, help="crops it shall be fastest at (8)")
    parser.add_argument("--max-batch", type=int, default=32, help="most crops at once (32)")
    parser.add_argument("--workspace-mib", type=int, default=512, help="memory a kernel may ask for (512)")
    parser.add_argument("--level", type=int, default=3, help="how long TensorRT searches, 0 to 5 (3)")


def _add_files_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(work=_run_files)
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle's folder; default: the one that ships")
    own_graphs = [precision for precision in PRECISIONS if precision != "bf16"]
    parser.add_argument("--precision", default="fp32", choices=own_graphs, help="one of the bundle's (fp32)")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    _add_choices(parser)


def _add_race_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(work=_run_race)
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle's folder; default: the one that ships")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], metavar="N",
                        help="crops at once to be fast at (1 8 32)")
    parser.add_argument("--threads", type=int, default=1, help="of each engine, as in [engine] (1)")
    parser.add_argument("--rounds", type=int, default=15, help="times each is measured (15)")
    parser.add_argument("--limit-s", type=int, default=120, metavar="S", help="seconds each may take to be opened, or "
                        "for one measurement: who hangs is out after that (120)")
    parser.add_argument("--cache", type=Path, help="where to keep the race; default: $XDG_CACHE_HOME or "
                        "~/.cache, the only place where a daemon looks for one")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw here, not beside the race that is kept")


def _run_race(args: argparse.Namespace) -> int:
    from cmnas_edge.engine import results  # noqa: PLC0415 - a room of its own, only once it is known to be meant
    from cmnas_edge.engine.race import candidates, run_race  # noqa: PLC0415

    for option, values, most in (("--batch", args.batch, _MOST_BATCH), ("--threads", [args.threads], 256),
                                 ("--rounds", [args.rounds], 10_000), ("--limit-s", [args.limit_s], 86_400)):
        if wrong := [value for value in values if not 1 <= value <= most]:
            raise ConfigError(f"{option}: expected 1 to {most}, found {wrong[0]}; correct it")
    bundle = Bundle.open(args.bundle or default_path())
    batches = tuple(sorted(set(args.batch)))
    here = results.machine()
    path = results.race_path(bundle, here, args.threads, args.cache)
    check_outside(path.parent, "--cache")
    if args.plot is not None:
        check_outside(args.plot.parent, "--plot")
    _say(f"device    {here.cpu}, {here.cores} cores")
    before = results.kept(bundle, here, args.threads, args.cache)
    entrants = candidates(bundle, threads=args.threads, max_batch=batches[-1], limit_s=args.limit_s)
    found = run_race(bundle, entrants, here, batches=batches, threads=args.threads, rounds=args.rounds,
                     previous=None if isinstance(before, str) else before.winner, say=_say)
    for line in results.table(found):
        _say(line)
    if found.winner is None:
        raise DeviceError(f"{bundle.path}: expected an engine that gives the golden embeddings here, found none (the "
                          "table says why of each); install the packages again, or export the bundle again")
    results.keep(found, path)
    _say(f"winner    {found.winner}; kept in {path}")
    return _draw(found, args.plot or path.with_suffix(".png"))


def _draw(found: Race, path: Path) -> int:
    from cmnas_edge.engine.race_plot import draw_race  # noqa: PLC0415

    try:
        draw_race(found, path)
    except ModuleNotFoundError:
        _say("picture   none: it needs matplotlib; install it with: pip install matplotlib")
    except OSError as error:
        raise ConfigError(f"{path}: expected a file this user may write, found {error.strerror}; name another with "
                          "--plot (the race itself is kept)") from error
    else:
        _say(f"picture   {path}")
    return 0


def _run_files(args: argparse.Namespace) -> int:
    from cmnas_edge.engine.interop import write_files  # noqa: PLC0415
    from cmnas_edge.engine.tensorrt.job import How  # noqa: PLC0415

    how = How(*_choices(args))
    for path in write_files(Bundle.open(args.bundle or default_path()), args.precision, how, args.out):
        _say(f"wrote     {path}")
    return 0


def run_build(args: argparse.Namespace) -> int:
    """Build a bundle's plans, one for each of its graphs, and hold each against the golden embeddings.

    Raises:
        ConfigError: A choice that cannot be, or a cache that cannot be written to.
        BundleError: TensorRT cannot read a graph, or computes something else.
        DeviceError: This machine lacks something, or builds none of the precisions.
        DiskFull: There is no room.
    """
    from cmnas_edge.engine import check_golden  # noqa: PLC0415 - a room of its own, only once it is known to be meant
    from cmnas_edge.engine.tensorrt import RUNS, TensorRtEngine, Workplace  # noqa: PLC0415
    from cmnas_edge.engine.tensorrt.cache import cache_folder  # noqa: PLC0415
    from cmnas_edge.engine.tensorrt.job import How, bundle_job, detector_job  # noqa: PLC0415

    how = How(*_choices(args))
    bundle = Bundle.open(args.bundle or default_path())
    precisions = _precisions(args.precision, bundle, RUNS)
    cache = cache_folder(args.cache)
    check_outside(cache, "--cache")
    say = _say
    failed: dict[Precision, CmnasError] = {}
    with Workplace() as place:
        say(f"device    {place.device}")
        for precision in precisions:
            try:
                for modality in MODALITIES:
                    path, plan = place.build(bundle_job(bundle, modality, precision), how, cache, again=args.again,
                                             say=say)
                    say(f"plan      {path}, {plan.file.bytes / 1e6:.2f} MB, built in {plan.build_s:.0f} s")
                    with TensorRtEngine(bundle, modality, precision=precision, cache=cache, workplace=place) as engine:
                        worst = check_golden(engine, bundle, modality)
                    say(f"golden    {modality} in {precision}: reproduced, worst difference {worst:.1e}")
            except (BundleError, DeviceError) as error:
                # One precision may fail on one device alone (NVIDIA/TensorRT#4832); the others are still of use.
                if len(precisions) == 1:
                    raise
                failed[precision] = error
                say(f"refused   {precision}: {error}")
        if args.detector is not None:
            alone = How(1, 1, how.workspace_mib, how.level)     # a frame at a time
            path, plan = place.build(detector_job(args.detector), alone, cache, again=args.again, say=say)
            say(f"plan      {path}, {plan.file.bytes / 1e6:.2f} MB, built in {plan.build_s:.0f} s")
    if len(failed) == len(precisions):
        raise DeviceError(f"{bundle.path}: expected a plan in one of {', '.join(precisions)}, found that TensorRT "
                          "makes none here (each reason is above); use another engine, and report what it said")
    return 0


def _choices(args: argparse.Namespace) -> tuple[int, int, int, int]:
    for option, value, least, most in (("--max-batch", args.max_batch, 1, _MOST_BATCH),
                                       ("--usual-batch", args.usual_batch, 1, args.max_batch),
                                       ("--workspace-mib", args.workspace_mib, 1, 1 << 20),
                                       ("--level", args.level, 0, 5)):
        if not least <= value <= most:
            raise ConfigError(f"{option}: expected {least} to {most}, found {value}; correct it")
    return args.usual_batch, args.max_batch, args.workspace_mib, args.level


def _precisions(asked: list[str] | None, bundle: Bundle, runs: tuple[Precision, ...]) -> list[Precision]:
    here: list[Precision] = [precision for precision in bundle.precisions if precision in runs]
    if asked is None:
        return here
    if unknown := [word for word in asked if word not in here]:
        raise ConfigError(f"--precision: expected some of {', '.join(here)}, which the bundle has and TensorRT runs, "
                          f"found {unknown[0]!r}; correct it")
    return [precision for precision in here if precision in asked]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
