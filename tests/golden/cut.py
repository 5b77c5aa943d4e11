"""Cut what tests always need out of the golden files beside the checkout.

    python tests/golden/cut.py

The originals (`README.md` says where they come from) are megabytes; a clone carries these
cuts, each of at most 300 kB, values untouched. A test cuts again, where the originals are at
hand, and compares.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
ORIGINALS = HERE.parents[2] / "shared" / "golden"
LIMIT_BYTES = 300_000  # of a file, on disk
BUDGET_BYTES = 290_000  # of its arrays: random numbers hardly compress

Arrays = dict[str, npt.NDArray[Any]]


def cut(originals: Path) -> dict[str, Arrays]:
    """The arrays of every cut file, by the file's name without ``.npz``."""
    osnet = _read(originals / "osnet_x0_25.npz")
    keys = json.loads((originals / "osnet_keys.json").read_text())
    files: dict[str, Arrays] = {"osnet_keys": _keys(keys)}
    # Every float32 tensor, end to end in the order of osnet_keys, in three pieces. The classifier
    # takes no part in the embedding.
    flat = np.concatenate([osnet[f"sd/{name}"].ravel() for name, _, dtype in keys["osnet_x0_25"]
                           if dtype == "float32" and not name.startswith("classifier.")])
    for i, piece in enumerate(np.array_split(flat, 3), start=1):
        files[f"osnet_x0_25_weights_{i}"] = {"flat": piece}
    files["osnet_x0_25_forward"] = {name: osnet[name] for name in ("input_160x64", "output_160x64")}
    sites = json.loads((originals / "config_site_order.json").read_text())
    files["resnet50_sites"] = {"module": np.array([site["module"] for site in sites]),
                               "channels": np.array([site["channels"] for site in sites])}
    files["sysu_gallery"] = _galleries(json.loads((originals / "sysu_gallery_sampling.json").read_text()))
    for name in ("switch_bn", "ce_label_smooth"):
        files[name] = _read(originals / f"{name}.npz")
    # Random erasing with two of the eight seeds: one that hides something, one that does not.
    utils = _read(originals / "training_utils.npz")
    files["training_utils"] = {name: array for name, array in utils.items()
                               if not name.startswith("re_out_seed") or name[-1] in "01"}
    for name in ("c3mmd", "triplet_hard", "eval_sysu"):
        files[name] = _smallest_cases(_read(originals / f"{name}.npz"))
    return files


def _read(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


def _smallest_cases(arrays: Arrays) -> Arrays:
    """Whole cases (keys are ``case/field``), the smallest first, as far as the budget goes."""
    size: Counter[str] = Counter()
    for name, array in arrays.items():
        size[name.partition("/")[0]] += array.nbytes
    kept, total = set(), 0
    for case, nbytes in sorted(size.items(), key=lambda item: item[1]):
        total += nbytes
        if total <= BUDGET_BYTES:
            kept.add(case)
    return {name: array for name, array in arrays.items() if name.partition("/")[0] in kept}


def _keys(lists: dict[str, list[tuple[str, list[int], str]]]) -> Arrays:
    """Per backbone the tensors' names, and their shapes filled up with -1 to four numbers."""
    files: Arrays = {}
    for backbone, entries in lists.items():
        files[f"{backbone}/name"] = np.array([name for name, _, _ in entries])
        files[f"{backbone}/shape"] = np.array([shape + [-1] * (4 - len(shape)) for _, shape, _ in entries])
    return files


def _galleries(sampling: dict[str, Any]) -> Arrays:
    """A tree of files, and by mode, shots and trial the rows of it that were picked, in order."""
    row = {name: i for i, name in enumerate(sampling["tree"])}
    files: Arrays = {"tree": np.array(sampling["tree"])}
    for part in ("query", "gallery"):
        for key, picked in sampling[part].items():
            files[f"{part}/{key}"] = np.array([row[name] for name in picked["files"]], np.int16)
    identities = [int(text) for text in sampling["test_id_txt"].split(",")]
    return {**files, "identities": np.array(identities)}


def main() -> None:
    """Write every cut beside this script."""
    for name, arrays in cut(ORIGINALS).items():
        path = HERE / f"{name}.npz"
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]  # numpy types allow_pickle as bool
        size = path.stat().st_size
        sys.stdout.write(f"{path.name:30} {len(arrays):5} arrays {size:8,} bytes\n")
        if size > LIMIT_BYTES:
            raise SystemExit(f"{path}: expected at most {LIMIT_BYTES:,} bytes, found {size:,}; lower the budget")


if __name__ == "__main__":
    main()
