"""``cmnas-edge VERB ...``: the commands of cameras and of the middle.

A room is imported only once its verb is known, so ``--help`` is instant and a camera never
imports the collector. Every deliberate failure ends in one sentence on stderr and the exit
code its class carries (see `cmnas_edge.errors`); a traceback is a bug of ours.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from cmnas_edge import __version__, log
from cmnas_edge.errors import CmnasError, DeviceError, interrupted

__all__ = ["main"]

# verb: (module with add_arguments(parser) and run(args) -> int, what it does)
VERBS = {
    "camera": ("cmnas_edge.camera.commands", "watch cameras and send embeddings"),
    "collector": ("cmnas_edge.collector.commands", "receive, match and show sightings"),
    "bundle": ("cmnas_edge.bundle_commands", "show, verify or install a model bundle"),
    "key": ("cmnas_edge.key_commands", "make the key that turns a site's vectors, or show its number"),
    "engine": ("cmnas_edge.engine_commands", "make a bundle's graphs run on this device, and prove it"),
    "synth": ("cmnas_edge.synthetic.commands", "draw people: crops, or a site of cameras"),
    "check-config": ("cmnas_edge.service.check", "check a settings file of a camera or a collector, and start nothing"),
    "doctor": ("cmnas_edge.camera.doctor.commands", "say what this device has, lacks and should know"),
    "audit": ("cmnas_edge.camera.audit.commands", "account for everything that left a device"),
    "service": ("cmnas_edge.service.commands", "print the systemd unit that runs a camera or a collector"),
    "demo": ("cmnas_edge.demo.commands", "run cameras and a collector on drawn or your own footage"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        "cmnas-edge", description="Person re-identification across visible and infrared cameras.",
        epilog="verbs:\n" + "\n".join(f"  {verb:<12} {what}" for verb, (_, what) in VERBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"cmnas-edge {__version__}")
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="one of the verbs below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see cmnas-edge VERB --help")
    args = parser.parse_args(arguments)
    module, what = VERBS[args.verb]
    # Read when numpy is imported. Our products are small and many: threads that share one wait for each other, and take
    # the processor from those that do other work. Engines have threads of their own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        room = _loaded(module)
        verb = argparse.ArgumentParser(f"cmnas-edge {args.verb}", description=what)
        room.add_arguments(verb)
        log.configure()
        return int(room.run(verb.parse_args(args.rest)))
    except CmnasError as error:
        print(f"cmnas-edge {args.verb}: {log.scrub(str(error))}", file=sys.stderr)
        return error.exit_code
    except ImportError as error:
        if interrupted(error):
            return _stopped(args.verb)
        if not isinstance(error, ModuleNotFoundError) or (error.name or "").partition(".")[0] == "cmnas_edge":
            raise
        print(f"cmnas-edge {args.verb}: the Python package {error.name!r} is missing; "
              f"install it with: pip install 'cmnas-edge[{_extra(args.verb)}]'", file=sys.stderr)
        return DeviceError.exit_code
    except KeyboardInterrupt:
        return _stopped(args.verb)
    except BrokenPipeError:
        # The reader of our output (head, say) has seen enough; nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _loaded(name: str) -> ModuleType:
    # Inside a library's own start-up Ctrl-C may come out as that library's error: let it end us at once.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return importlib.import_module(name)
    finally:
        signal.signal(signal.SIGINT, interrupt)


def _stopped(verb: str) -> int:
    print(f"cmnas-edge {verb}: stopped", file=sys.stderr)
    return 130


def _extra(verb: str) -> str:
    return {"collector": "collector", "demo": "demo", "synth": "demo"}.get(verb, "dev")


if __name__ == "__main__":
    sys.exit(main())
