"""``python -m train reproduce sysu|regdb|drawn --out DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_arguments", "run"]

_RECIPES = Path(__file__).resolve().parents[1] / "recipes"
# what: (recipe of the training, recipe of the search)
_WHAT = {
    "sysu": ("cmnas_resnet50_sysu.toml", "search_cmnas_resnet50_sysu.toml"),
    "regdb": ("cmnas_resnet50_regdb.toml", "search_cmnas_resnet50_sysu.toml"),
    "drawn": ("drawn_osnet_x0_25_first.toml", "search_drawn_osnet_x0_25.toml"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("what", choices=_WHAT, help="whose protocol")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder of it all; the same command goes on with one that was interrupted")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="where the dataset lies")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each scheme, and split (1)")
    parser.add_argument("--schemes", nargs="+", choices=("searched", "shared", "split", "split_statistics"),
                        default=["searched"], help="norms to compare (searched)")
    parser.add_argument("--recipe", type=Path, help="of the training, instead of the one that goes with it")
    parser.add_argument("--search", type=Path, help="of the search, instead of the one that goes with it")
    parser.add_argument("--start", type=Path, help="file of weights to begin with, instead of the recipe's")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto",
                        help="auto spreads over the GPUs there are")


def run(args: argparse.Namespace) -> int:
    """Do what is not done yet, and write the table of what is."""
    from cmnas_edge import config  # noqa: PLC0415 - torch takes seconds, --help should not
    from cmnas_edge.errors import ConfigError, unwritable  # noqa: PLC0415
    from train.fit.devices import all_gpus  # noqa: PLC0415
    from train.fit.recipe import Recipe, varied  # noqa: PLC0415
    from train.protocols.published import beside  # noqa: PLC0415
    from train.protocols.table import latex, markdown  # noqa: PLC0415
    from train.reproduce.figures import figures  # noqa: PLC0415
    from train.reproduce.plan import plan  # noqa: PLC0415
    from train.reproduce.work import carry_out  # noqa: PLC0415
    from train.search.recipe import SearchRecipe  # noqa: PLC0415

    if args.seeds < 1:
        raise ConfigError(f"--seeds: expected at least 1, found {args.seeds}; say how many runs there should be")
    recipe, search = (_RECIPES / name for name in _WHAT[args.what])
    # The recipe of a line of work lies elsewhere than here.
    start = None if args.start is None else args.start.resolve()
    work = plan(varied(config.load(args.recipe or recipe, Recipe), start=start),
                config.load(args.search or search, SearchRecipe), args.out.resolve(), seeds=args.seeds,
                schemes=args.schemes, root=None if args.data is None else args.data.resolve(), device=args.device,
                flags=("--protocol", "dataset", "mixed", "--rerank"))
    stopped = False
    try:
        carry_out(work, gpus=all_gpus(args.device))
    except KeyboardInterrupt:
        stopped = True
    finally:
        found = beside(figures(work))
        if found:
            try:
                (args.out / "table.md").write_text(markdown(found), "utf-8")
                (args.out / "table.tex").write_text(latex(found), "utf-8")
            except OSError as error:
                raise unwritable(args.out, "a table", error, "choose another --out") from error
    if stopped:
        sys.stderr.write(f"stopped; go on with: {args.again}\n")
        return 130
    sys.stdout.write(markdown(found))
    sys.stdout.write(f"\nalso in {args.out / 'table.md'} and table.tex\n")
    return 0
