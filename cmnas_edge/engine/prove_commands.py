"""``cmnas-edge engine prove``: try a bundle on this device, and write down what to attach to a report."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from cmnas_edge.bundle import Bundle, default_path
from cmnas_edge.bundle.outside import check_outside
from cmnas_edge.engine.proof import Asked, Proof
from cmnas_edge.engine.prove import prove
from cmnas_edge.engine.tensorrt import RUNS
from cmnas_edge.engine.tensorrt.cache import check_writable, write_together
from cmnas_edge.engine.tensorrt.job import How
from cmnas_edge.engine.trial_apart import LIMIT_S, Apart
from cmnas_edge.errors import ConfigError, DeviceError

__all__ = ["add_prove_arguments", "run_prove"]

_MOST = {"frames": 10_000_000, "opens": 100_000, "max_batch": 1024, "workspace_mib": 1 << 20, "limit_s": 86_400}


def add_prove_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.set_defaults(work=run_prove)
    parser.epilog = ("Nothing in the two files names this machine, you or your folders: attach them to a report as "
                     "they are. Without a GPU and TensorRT the same is tried with ONNX Runtime, and the files say so.")
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle's folder; default: the one that ships")
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the two files (here)")
    parser.add_argument("--frames", type=int, default=10_000, help="frames each engine is shown (10000)")
    parser.add_argument("--opens", type=int, default=20, help="how often each is opened and closed (20)")
    parser.add_argument("--max-batch", type=int, default=32, help="most crops at once (32)")
    parser.add_argument("--workspace-mib", type=int, default=512, help="memory a kernel of TensorRT may ask for (512)")
    parser.add_argument("--precision", action="append", metavar="P", choices=RUNS,
                        help="of TensorRT's; may be given again; default: all the bundle has")
    parser.add_argument("--limit-s", type=int, default=int(LIMIT_S), metavar="S",
                        help="seconds one may be silent, as while its plan is built: who hangs has failed "
                        f"({LIMIT_S:.0f})")
    parser.add_argument("--cache", type=Path, help="keep the plans there; default: they are built anew and thrown away")


def run_prove(args: argparse.Namespace) -> int:
    """Try everything, say how it goes, and write a JSON and a PNG.

    Raises:
        ConfigError: A number that cannot be, or a folder that cannot be written to.
        BundleError: The bundle is damaged.
        DeviceError: Something failed; which, stands above and in the files.
        DiskFull: There is no room for the files.
    """
    for name, most in _MOST.items():
        value, least = getattr(args, name), int(name != "opens")
        if not least <= value <= most:
            raise ConfigError(f"--{name.replace('_', '-')}: expected {least} to {most}, found {value}; correct it")
    bundle = Bundle.open(args.bundle or default_path())
    how = How(min(8, args.max_batch), args.max_batch, args.workspace_mib)
    check_outside(args.out, "--out")
    check_writable(args.out, "--out")
    written: Path | None = None

    def keep(proof: Proof) -> None:
        nonlocal written
        written = args.out / f"prove-{_slug(proof)}.json"
        write_together((written, msgspec.json.format(msgspec.json.encode(proof), indent=1) + b"\n"), option="--out")

    with ExitStack() as opened:
        cache = args.cache or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="cmnas-edge-prove-")))
        asked = Asked(args.frames, args.opens, how)
        trials = Apart.of(bundle, asked, cache, args.limit_s)
        look = trials.look()
        _say(f"bundle    {bundle.name}, fingerprint {bundle.fingerprint_hex[:16]}")
        _say(f"device    {look.device or look.fault}" if not look.lacking else
             f"device    no figure of TensorRT will be made: expected {look.lacking}. ONNX Runtime alone is tried")
        try:
            proof = prove(bundle, asked, trials, look, precisions=tuple(args.precision or RUNS), say=_say, keep=keep)
        finally:
            if written is not None:     # also after Ctrl-C: what was found until then
                _say(f"\nwrote     {written}")
    assert written is not None  # once at the end
    _picture(proof, written.with_suffix(".png"))
    failed = [subject for subject in proof.subjects if subject.verdict != "passed"]
    if look.lacking:
        _say("verdict   no figure of TensorRT was made; ONNX Runtime "
             + ("passed" if not failed else "failed") + f". For one: expected {look.lacking}")
    else:
        _say(f"verdict   {len(proof.subjects) - len(failed)} of {len(proof.subjects)} passed")
    if failed:
        raise DeviceError(f"{', '.join(map(str, failed))}: expected every subject to pass, found what stands above; do "
                          f"not let it serve, and attach {written} to a report")
    return 0


def _picture(proof: Proof, path: Path) -> None:
    from cmnas_edge.engine.prove_plot import draw_proof  # noqa: PLC0415 - only once there is something to draw

    try:
        draw_proof(proof, path)
    except ModuleNotFoundError:
        _say("picture   none: the Python package matplotlib is not here (pip install matplotlib); the JSON has it all")
    except OSError as error:
        path.unlink(missing_ok=True)
        _say(f"picture   none: {path} cannot be written ({error.strerror}); the JSON has it all")
    else:
        _say(f"wrote     {path}")


def _slug(proof: Proof) -> str:
    device = proof.device.partition(",")[0] or ("without-tensorrt" if proof.lacking else "unknown-gpu")
    return re.sub(r"[^a-z0-9.]+", "-", f"{device} {proof.fingerprint[:8]}".lower()).strip("-")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
