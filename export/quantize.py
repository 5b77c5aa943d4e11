"""A bundle once more, with graphs of lower precision that passed the gate; all else stays as it is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import onnx

from cmnas_edge.bundle import Bundle, Precision, graph_name, seal, weights_name
from cmnas_edge.embedding import MODALITIES
from cmnas_edge.errors import BundleError, ConfigError
from cmnas_edge.progress import Progress
from export.card import with_precisions
from export.pack import check_free, placed
from export.precision import PEOPLE, Method, gate
from export.precision.crops import drawn, from_folder
from export.precision.ladder import LADDER, climb
from export.weights import write_graphs

__all__ = ["MOST_PEOPLE", "asked_for", "quantize"]

CARD = "MODEL.md"
MOST_PEOPLE = 20_000    # six crops of each are in memory at once: 3 GB at 128x64


def asked_for(text: str, person_count: int = PEOPLE) -> list[Precision]:
    """Precisions by name, separated by commas; "all" of them, or "fp32" for none beside it.

    Args:
        text: As given.
        person_count: Whom the gate is to draw.

    Raises:
        ConfigError: No such precision, or too few people or too many.
    """
    if 2 * person_count < gate.QUERIES:
        raise ConfigError(f"--gate-people: expected at least {gate.QUERIES // 2}, who ask {gate.QUERIES} times in "
                          f"infrared, found {person_count}; correct it")
    if person_count > MOST_PEOPLE:
        raise ConfigError(f"--gate-people: expected at most {MOST_PEOPLE}, all of whom are drawn in memory, found "
                          f"{person_count}; correct it")
    names = [name.strip() for name in text.split(",")]
    if names == ["all"]:
        return list(LADDER)
    if wrong := [name for name in names if name not in (*LADDER, "fp32")]:
        raise ConfigError(f"--precisions: expected all, fp32 or some of {', '.join(LADDER)}, found {wrong[0]!r}; "
                          "correct it")
    return [precision for precision in LADDER if precision in names]


def quantize(source: Path, out: Path, asked: Sequence[Precision], *, crops: Path | None = None,
             method: Method = "entropy", person_count: int = PEOPLE, replace: bool = False) -> Bundle:
    """Write a bundle with the precisions that pass; those it had before are made anew or left out.

    Args:
        source: A bundle.
        out: The folder to become one; ``source`` itself if ``replace``.
        asked: Precisions to try.
        crops: A folder of the user's own crops to find ranges from; drawn ones if left out.
        method: How ranges are found.
        person_count: Whom the gate draws.
        replace: Replace a bundle that is there.

    Raises:
        ConfigError: No folder to write to, or crops that cannot be used.
        BundleError: The source is damaged.
        DiskFull: There is no room; nothing is left of what was begun.
    """
    bundle = Bundle.open(source)
    check_free(out, replace=replace)
    try:
        models = {modality: onnx.load(bundle.graph(modality)) for modality in MODALITIES}
    except Exception as error:  # whatever its readers met
        raise BundleError(f"{source}: expected graphs that can be read, found something else ({error}); export "
                          "again") from error
    if crops is None:
        shown = drawn(bundle.height, bundle.width)
    else:
        with Progress("pictures") as progress:
            shown = from_folder(crops, bundle.height, bundle.width, progress)
    done = climb(models, bundle.height, bundle.width, bundle.manifest.golden, asked=asked, crops=shown,
                 method=method, person_count=person_count)
    variants = {precision: variant for precision, (_, variant) in done.admitted.items()}
    before = {name for precision in bundle.manifest.variants if precision != "bf16"
              for name in (weights_name(precision), *(graph_name(modality, precision) for modality in MODALITIES))}
    with placed(out, replace=replace) as folder:
        for name in sorted(set(bundle.manifest.files) - before):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(bundle.path / name, folder / name)
        for precision, (graphs, _) in done.admitted.items():
            if graphs:
                write_graphs(graphs, folder, precision)
        card = (folder / CARD).read_text("utf-8")
        (folder / CARD).write_text(with_precisions(card, variants, done.refused), "utf-8")
        seal(folder, msgspec.structs.replace(bundle.manifest, variants=variants, refused=done.refused))
    return Bundle.open(out)
