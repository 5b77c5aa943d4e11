"""``python -m train VERB ...``: from data to a trained network, and what it is worth.

A verb's module is imported once the verb is known, so ``--help`` is instant. Every deliberate
failure ends in one sentence on stderr and the exit code of its class (`cmnas_edge.errors`).
Of the processes that torchrun starts the first one says it, and torchrun once more at the end of its own report.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cmnas_edge import log
from cmnas_edge.errors import CmnasError, ConfigError, DeviceError

__all__ = ["main"]

# verb: (module with add_arguments(parser) and run(args) -> int, what it does)
VERBS = {
    "fit": ("train.commands.fit", "train by a recipe; the same command picks an interrupted run up"),
    "evaluate": ("train.commands.evaluate", "score a checkpoint on people nobody trained on"),
    "adapt": ("train.commands.adapt", "fit a checkpoint's statistics to other cameras, without labels"),
    "reproduce": ("train.commands.reproduce", "search, train and score by every protocol, beside published rows"),
    "data": ("train.data.commands", "check a dataset, or cut people from footage"),
    "search": ("train.search.commands", "find where two modalities should share a norm"),
    "evidence": ("train.evidence.commands", "what each idea buys, with seeds and error bars"),
}

_SHARED = ("fit", "search")  # several processes take each step of these together


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; what it is given has the whole command as ``again``, to go on with."""
    argv = sys.argv[1:] if argv is None else list(argv)
    verbs = {verb: entry for verb, entry in VERBS.items() if _is_here(entry[0])}
    parser = argparse.ArgumentParser(
        "python -m train", description="The workshop: learn from people in two modalities.",
        epilog="verbs:\n" + "\n".join(f"  {verb:<10} {what}" for verb, (_, what) in verbs.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=verbs, metavar="VERB", help="one of the verbs below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="see python -m train VERB --help")
    args = parser.parse_args(argv)
    module, what = verbs[args.verb]
    try:
        room = importlib.import_module(module)
        if args.verb not in _SHARED and os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(f"{args.verb}: expected one process, found {os.environ['WORLD_SIZE']} that torchrun "
                              f"started; give python -m train {args.verb} alone: it spreads what it can by itself")
        verb = argparse.ArgumentParser(f"python -m train {args.verb}", description=what)
        room.add_arguments(verb)
        return int(room.run(verb.parse_args(args.rest, argparse.Namespace(again=_again(argv)))))
    except CmnasError as error:
        _say(f"python -m train {args.verb}: {log.scrub(str(error))}")
        return error.exit_code
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("cmnas_edge", "train"):
            raise
        _say(f"python -m train {args.verb}: the Python package {error.name!r} is missing; install it with: "
             "pip install -e '.[workshop]'")
        return DeviceError.exit_code
    except KeyboardInterrupt:
        _say(f"python -m train {args.verb}: stopped")
        return 130
    except BrokenPipeError:
        # The reader of our output (head, say) has seen enough; nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _again(argv: Sequence[str]) -> str:
    """The command that was given, as a shell takes it."""
    count = os.environ.get("LOCAL_WORLD_SIZE")
    how = "python" if count is None else f"torchrun --nproc_per_node {count}"
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        how += " ..."  # where several machines meet is not known here
    return f"{how} -m train {shlex.join(argv)}"


def _say(sentence: str) -> None:
    """Say why nothing came of it, and leave it for torchrun, whose report would otherwise hide it."""
    report = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if report is not None:
        said = {"message": {"message": sentence, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with suppress(OSError):
            Path(report).write_text(json.dumps(said), "utf-8")
    if report is None or os.environ.get("RANK", "0") == "0":
        print(sentence, file=sys.stderr)


def _is_here(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package it would lie in
        return False


if __name__ == "__main__":
    sys.exit(main())
