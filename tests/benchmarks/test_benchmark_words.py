"""A benchmark says in a sentence what it cannot measure, before it measures anything."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from benchmarks import (
    calibration,
    camera_graph,
    cameras,
    draw,
    dusk,
    gates,
    identity,
    ingest,
    linkability,
    loader,
    own_kernels,
    pipeline,
    protocol,
    quantisation,
    resize,
    rollout,
    sealing,
    search_step,
    soak,
    spool,
)


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
    (rollout, ["--people", "1"], 2, "--people: expected at least 2, found 1; give more"),
    (rollout, ["--second", "none"], 2, "none: expected a bundle with manifest.json, found none; check the path"),
    (spool, ["--records", "63"], 2, "--records: expected at least 64, found 63; give more"),
    (loader, ["--rounds", "0"], 2, "--rounds: expected at least 1, found 0; give more"),
    (loader, ["--steps", "-1"], 2, "--steps: expected at least 1, found -1; give more"),
    (loader, ["--workers", "0"], 2, "--workers: expected at least 1, found 0; give more"),
    (dusk, ["--seeds", "202", "-1"], 2, "--seeds: expected at least 0, found -1; give more"),
    (quantisation, ["--people", "0"], 2, "--people: expected at least 2, found 0; give more"),
    (own_kernels, ["--people", "1"], 2, "--people: expected at least 2, found 1; give more"),
    (gates, ["--turns", "0"], 2, "--turns: expected at least 1, found 0; give more"),
    (resize, ["--turns", "0"], 2, "--turns: expected at least 1, found 0; give more"),
    (sealing, ["--turns", "-1"], 2, "--turns: expected at least 1, found -1; give more"),
    (draw, ["--identities", "0"], 2, "--identities: expected at least 1, found 0; give more"),
    (draw, ["--rounds", "0"], 2, "--rounds: expected at least 1, found 0; give more"),
    (cameras, ["--seconds", "0"], 2, "--seconds: expected at least 1, found 0; give more"),
    (pipeline, ["--seconds", "-1"], 2, "--seconds: expected at least 1, found -1; give more"),
    (camera_graph, ["graph.png", "--people", "1"], 2, "--people: expected at least 2, found 1; give more"),
    (camera_graph, ["graph.png", "--seed", "-1"], 2, "--seed: expected at least 0, found -1; give more"),
    (search_step, ["--rounds", "0"], 2, "--rounds: expected at least 1, found 0; give more"),
    (search_step, ["--only", "osnet"], 2, "invalid choice: 'osnet'"),
    (soak, ["--hours", "0"], 2, "--hours: expected at least 0.01, found 0; give more"),
    (soak, ["--minutes", "nan"], 2, "--minutes: expected at least 0.01, found nan; give more"),
    (soak, ["--cycles", "11"], 2, "--cycles: expected at least 12, found 11; give more"),
    (soak, ["--port", "0"], 2, "--port: expected at least 1, found 0; give more"),
    (identity, ["--days", "60:0", "1:0"], 2, "--days: expected at least two PEOPLE, and a SEED, as in 60:0, found"),
    (loader, ["--device", "gpu"], 2, "invalid choice: 'gpu'"),
    (loader, ["--device", "cuda"], 69, "--device cuda: expected an NVIDIA GPU, found"),
])
def test_what_cannot_be_measured_is_refused(
        module: ModuleType, words: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "keep", None, raising=False)    # one only draws
    monkeypatch.setattr("sys.argv", ["benchmark", *words])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == code
    assert said in capsys.readouterr().err.splitlines()[-1]
