"""The stand-in for pycuda takes what pycuda takes; and nothing is missing quietly where there is no driver."""

from __future__ import annotations

import ctypes
import inspect
import json

import pytest

from cmnas_edge.engine.tensorrt import Workplace, missing
from cmnas_edge.errors import DeviceError
from tests.tensorrt import fake_pycuda
from tests.tensorrt.signatures import FILE


def test_the_stand_in_has_pycuda_s_signatures() -> None:
    for name, real in json.loads(FILE.read_text(encoding="utf-8")).items():
        value: object = fake_pycuda
        for part in name.split("."):
            value = getattr(value, part)
        if isinstance(real, int):
            assert value == real, name
            continue
        assert callable(value)
        found = [one.name if one.default is one.empty else f"{one.name}={one.default!r}"
                 for one in inspect.signature(value).parameters.values()]
        assert len(found) == len(real), name
        assert all(theirs in ("_", ours) for ours, theirs in zip(found, real, strict=True)), (name, found, real)


def test_a_machine_without_a_driver_is_told_what_brings_it() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pass
    else:
        pytest.skip("this machine has NVIDIA's driver")
    assert (missing() or "").startswith("an NVIDIA driver (libcuda.so.1); install it")
    with pytest.raises(DeviceError, match=r"engine 'tensorrt': expected an NVIDIA driver \(libcuda.so.1\)"):
        Workplace()
