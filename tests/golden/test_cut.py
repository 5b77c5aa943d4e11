"""The golden files in the repository are cuts of the originals, and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.golden import golden, golden_osnet
from tests.golden.cut import HERE, LIMIT_BYTES, ORIGINALS, cut
from tests.shared import needs_shared


@needs_shared("golden/osnet_x0_25.npz", "golden/c3mmd.npz")
def test_cutting_again_gives_the_same_files() -> None:
    again = cut(ORIGINALS)
    assert {path.stem for path in HERE.glob("*.npz")} == set(again)
    for name, arrays in again.items():
        kept = golden(name)
        assert kept.keys() == arrays.keys(), name
        for key, array in arrays.items():
            assert kept[key].dtype == array.dtype, (name, key)
            np.testing.assert_array_equal(kept[key], array, err_msg=f"{name} {key}")


@needs_shared("golden/osnet_x0_25.npz")
def test_the_flat_weights_are_the_original_tensors_under_their_names() -> None:
    with np.load(ORIGINALS / "osnet_x0_25.npz") as file:
        for name, tensor in golden_osnet().items():
            np.testing.assert_array_equal(tensor, file[f"sd/{name}"], err_msg=name)


def test_every_golden_file_is_small_and_has_its_origin_in_the_readme() -> None:
    readme = (Path(__file__).with_name("README.md")).read_text()
    for path in HERE.glob("*.npz"):
        assert path.stat().st_size <= LIMIT_BYTES, path.name
        stem = path.name if "_weights_" not in path.name else "osnet_x0_25_weights_{1,2,3}.npz"
        assert f"`{stem}`" in readme, path.name
