"""A benchmark says in a sentence what it cannot measure, before it measures anything."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from benchmarks import calibration, dusk, ingest, linkability, loader, protocol, spool


@pytest.mark.parametrize(("module", "words", "code", "said"), [
    (protocol, ["--rounds", "0"], 2, "--rounds: expected at least 1, found 0; give more"),
    (dusk, ["--days", "-1"], 2, "--days: expected 0 or more, found -1; give more"),
    (ingest, ["--seconds", "nan"], 2, "--seconds: expected at least 1, found nan; give more"),
    (ingest, ["--connections", "0"], 2, "--connections: expected at least 1, found 0; give more"),
    (ingest, ["--rate", "-1"], 2, "--rate: expected at least 1, found -1; give more"),
    (ingest, ["--devices", "0"], 2, "--devices: expected at least 1, found 0; give more"),
    (calibration, ["--people", "1"], 2, "--people: expected at least 60, found 1; give more"),
    (linkability, ["--people", "1"], 2, "--people: expected at least 2, found 1; give more"),
    (linkability, ["--views", "0"], 2, "--views: expected at least 1, found 0; give more"),
    (spool, ["--records", "63"], 2, "--records: expected at least 64, found 63; give more"),
    (loader, ["--rounds", "0"], 2, "--rounds: expected at least 1, found 0; give more"),
    (loader, ["--steps", "-1"], 2, "--steps: expected at least 1, found -1; give more"),
    (loader, ["--workers", "0"], 2, "--workers: expected at least 1, found 0; give more"),
    (loader, ["--device", "gpu"], 2, "invalid choice: 'gpu'"),
    (loader, ["--device", "cuda"], 69, "--device cuda: expected an NVIDIA GPU, found"),
])
def test_what_cannot_be_measured_is_refused(
        module: ModuleType, words: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "keep", None)
    monkeypatch.setattr("sys.argv", ["benchmark", *words])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == code
    assert said in capsys.readouterr().err.splitlines()[-1]
