"""The project's own builder, loader and runner over NVIDIA's real bindings of five versions; see README.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tensorrt import on, wheels
from tests.tiny_bundle import TINY

FORGETFUL = """
from tests.tensorrt.stage import set_up
set_up()
from pathlib import Path
from cmnas_edge.bundle import Bundle
from cmnas_edge.engine.tensorrt import TensorRtEngine, Workplace
from cmnas_edge.engine.tensorrt.job import How, bundle_job
bundle = Bundle.open(Path({bundle!r}))
place = Workplace()
place.build(bundle_job(bundle, "visible", "fp32"), How(2, 5), Path({cache!r}))
engine = TensorRtEngine(bundle, "visible", precision="fp32", cache=Path({cache!r}), workplace=place)
engine.embed(bundle.golden("visible")[0])
{end}
"""


@pytest.mark.tensorrt
@pytest.mark.parametrize("version", wheels.VERSIONS)
def test_what_is_built_loaded_and_run_is_what_this_version_of_tensorrt_takes(version: str) -> None:
    try:
        ran = on.run(version)
    except wheels.Missing as reason:
        pytest.skip(str(reason))
    assert ran.returncode == 0, f"exit code {ran.returncode} over TensorRT {version}:\n{ran.stdout}"


@pytest.mark.tensorrt
@pytest.mark.parametrize(("version", "end", "code"), [(wheels.VERSIONS[0], "", 0),
                                                      (wheels.VERSIONS[-1], "raise SystemExit(3)", 3)])
def test_a_process_that_closes_nothing_ends_as_it_meant_to(version: str, end: str, code: int, tmp_path: Path) -> None:
    """Pycuda aborts a process whose thread ends with a context; TensorRT crashes when its context goes first."""
    try:
        environment = on.environment(version)
    except wheels.Missing as reason:
        pytest.skip(str(reason))
    source = FORGETFUL.format(bundle=str(TINY), cache=str(tmp_path), end=end)
    ran = subprocess.run([sys.executable, "-X", "faulthandler", "-c", source], cwd=on.ROOT, env=environment,
                         capture_output=True, text=True, check=False, timeout=100)
    assert (ran.returncode, ran.stderr) == (code, "")
