"""The project's own builder, loader and runner over NVIDIA's real bindings of five versions; see README.md."""

from __future__ import annotations

import pytest

from tests.tensorrt import on, wheels


@pytest.mark.tensorrt
@pytest.mark.parametrize("version", wheels.VERSIONS)
def test_what_is_built_loaded_and_run_is_what_this_version_of_tensorrt_takes(version: str) -> None:
    try:
        ran = on.run(version)
    except wheels.Missing as reason:
        pytest.skip(str(reason))
    assert ran.returncode == 0, f"exit code {ran.returncode} over TensorRT {version}:\n{ran.stdout}"
