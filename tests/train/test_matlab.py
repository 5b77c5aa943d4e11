"""MATLAB files are read as SciPy reads them, and damaged ones are refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from cmnas_edge.synthetic.matlab import write_cells
from tests.proof import examples
from train.data.matlab import cells


def column(values: list[object]) -> np.ndarray:
    out = np.empty((len(values), 1), object)
    for row, value in enumerate(values):
        out[row, 0] = value
    return out


VALUES = {
    "doubles": np.arange(6.0).reshape(2, 3), "small": np.array([[7]], np.uint8), "single": np.ones((3, 1), np.float32),
    "wide": np.arange(20, dtype=np.int64).reshape(4, 5), "empty": np.zeros((0, 0)), "none": np.zeros((10, 0)),
    "cube": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
}


@pytest.mark.parametrize("packed", [False, True])
def test_what_scipy_writes_is_read_with_shape_and_values(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "x.mat"
    inner = column(list(VALUES.values()))
    savemat(path, {"before": np.ones(3), "text": "hello", "wanted": column([inner, np.eye(2)]), "after": column([1])},
            do_compression=packed)
    found = cells(path, "wanted")
    assert len(found) == 2
    assert isinstance(found[0], list)
    for read, value in zip(found[0], VALUES.values(), strict=True):
        assert isinstance(read, np.ndarray)
        assert read.shape == value.shape
        assert (read == value).all()
    assert (np.asarray(found[1]) == np.eye(2)).all()


def test_what_the_house_writes_is_read_by_scipy_and_here_alike(tmp_path: Path) -> None:
    from scipy.io import loadmat

    path = tmp_path / "x.mat"
    write_cells(path, "wanted", [[np.arange(6.0).reshape(2, 3), np.ones((1, 1))], [np.zeros((3, 2))]])
    theirs, ours = loadmat(path)["wanted"], cells(path, "wanted")
    assert theirs.shape == (2, 1)
    for their, our in zip(theirs.ravel(), ours, strict=True):
        assert isinstance(our, list)
        for left, right in zip(their.ravel(), our, strict=True):
            assert left.tolist() == np.asarray(right).tolist()


def test_a_file_of_the_other_byte_order_is_read(tmp_path: Path) -> None:
    # Hand-written: one 1 x 1 cell with the 1 x 2 matrix (5, 6) as unsigned bytes, in the short form.
    def element(kind: int, data: bytes) -> bytes:
        return kind.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data + bytes(-len(data) % 8)

    def matrix(of: int, shape: tuple[int, int], name: bytes, content: bytes) -> bytes:
        size = b"".join(side.to_bytes(4, "big") for side in shape)
        return element(14, element(6, of.to_bytes(4, "big") + bytes(4)) + element(5, size) + element(1, name) + content)

    numbers = (2).to_bytes(2, "big") + (2).to_bytes(2, "big") + b"\5\6\0\0"
    path = tmp_path / "x.mat"
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\1\0MI" + matrix(1, (1, 1), b"w", matrix(9, (1, 2), b"", numbers)))
    assert np.asarray(cells(path, "w")[0]).tolist() == [[5, 6]]


@pytest.mark.parametrize("content", [b"", b"MATLAB", b"\x89HDF\r\n\x1a\n" + bytes(600), bytes(128)])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(ValueError, match="no MATLAB file"):
        cells(tmp_path / "x.mat", "wanted")


def test_a_variable_that_is_not_there_or_no_cells_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"numbers": np.ones((2, 2))})
    for name in ("numbers", "other"):
        with pytest.raises(ValueError, match=f"no cell array {name}"):
            cells(tmp_path / "x.mat", name)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    path, found = tmp_path_factory.mktemp("mat") / "x.mat", {}
    for packed in (False, True):
        savemat(path, {"wanted": column([column(list(VALUES.values()))])}, do_compression=packed)
        found[packed] = path.read_bytes()
    return found


@pytest.mark.prove
@settings(max_examples=examples(300))
@given(data=st.data(), packed=st.booleans())
def test_a_damaged_file_is_read_or_refused_and_nothing_else(good: dict[bool, bytes], data: st.DataObject, packed: bool,
                                                            tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(good[packed])
    damage = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, byte in data.draw(st.lists(damage, max_size=4)):
        content[place] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.mat"
    path.write_bytes(content[:data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with suppress(ValueError):
        assert isinstance(cells(path, "wanted"), list)
