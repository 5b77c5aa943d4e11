"""``python -m export VERB ...``: from a trained network to a bundle that cameras trust.

What makes a bundle takes torch, which is seconds to import: so it is imported once it is asked for, and where Ctrl-C
and a missing package are told in a sentence. Whoever draws a key or signs needs none of it.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from cmnas_edge import log
from cmnas_edge.errors import CmnasError, DeviceError, interrupted

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    verb = ""
    try:
        args = _loaded("export.words").parse(argv)
        verb = f" {args.command}"
        work = args.work if "work" in args else _loaded(args.module).work
        work(args)
    except CmnasError as error:
        print(f"export{verb}: {log.scrub(str(error))}", file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        print(f"export{verb}: expected memory for all pictures at once, found too little "
              f"({str(error) or 'the system does not say how much'}); ask for fewer people, or do it on a machine with "
              "more; nothing half-written is left", file=sys.stderr)
        return DeviceError.exit_code
    except BaseException as error:
        if not interrupted(error):
            raise
        print(f"export{verb}: stopped; nothing half-written is left", file=sys.stderr)
        return 130
    return 0


def _loaded(name: str) -> ModuleType:
    # Inside a library's own start-up Ctrl-C may come out as that library's error: let it end us at once.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("cmnas_edge", "train", "export"):
            raise
        raise DeviceError(f"the Python package {error.name!r} is missing; install it with: pip install -e "
                          "'.[workshop]'") from None
    finally:
        signal.signal(signal.SIGINT, interrupt)


if __name__ == "__main__":
    sys.exit(main())
