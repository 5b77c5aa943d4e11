"""``python -m export VERB ...``: from a trained network to a bundle that cameras trust.

What the verbs do takes torch, which is seconds to import: so it is imported where Ctrl-C and a missing package are
told in a sentence.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

from cmnas_edge import log
from cmnas_edge.errors import CmnasError, DeviceError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    try:
        # Inside a library's own start-up Ctrl-C may come out as that library's error: let it end us at once.
        interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            commands = importlib.import_module("export.commands")
        finally:
            signal.signal(signal.SIGINT, interrupt)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("cmnas_edge", "train", "export"):
            raise
        print(f"export: the Python package {error.name!r} is missing; install it with: "
              "pip install -e '.[workshop]'", file=sys.stderr)
        return DeviceError.exit_code
    args = commands.parse(argv)
    try:
        commands.work(args)
    except CmnasError as error:
        print(f"export {args.command}: {log.scrub(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"export {args.command}: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
