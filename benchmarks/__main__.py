"""``python -m benchmarks [--all]``: one question after another; each appends to ``results/``.

Those that take minutes each, and want a machine to themselves, are asked with ``--all`` only.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks import (
    calibration,
    cameras,
    draw,
    dusk,
    flat,
    gates,
    identity,
    ingest,
    latency,
    linkability,
    loader,
    match,
    own_kernels,
    pipeline,
    probe,
    protocol,
    quantisation,
    resize,
    rollout,
    sealing,
    search_step,
    spool,
    throughput,
)

_SHORT = (latency, throughput, draw, gates, loader, pipeline, protocol, resize, sealing, search_step, spool)
_LONG = (calibration, cameras, dusk, flat, identity, ingest, linkability, match, own_kernels, probe,
         quantisation, rollout)

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the long ones, too")
    for script in (*_SHORT, *_LONG) if parser.parse_args().all else _SHORT:
        print(f"== {script.__name__.removeprefix('benchmarks.')}: {(script.__doc__ or '').splitlines()[0]}", flush=True)
        sys.argv[1:] = []
        script.main()
