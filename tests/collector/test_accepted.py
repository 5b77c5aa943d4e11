"""Which bundles a collector accepts is what its settings say, and what cannot be meant is refused before it starts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec import structs

from cmnas_edge import cli
from cmnas_edge.bundle import CALIBRATION, Bundle, seal
from cmnas_edge.calibration import encode
from cmnas_edge.collector.accepted import leading, others
from cmnas_edge.collector.settings import load
from tests.collector.people import write_bundle

NAMES = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("old", "new", "odd")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, fingerprint in NAMES.items():
        path = write_bundle(tmp_path / name)
        made = Bundle.open(path)
        (path / CALIBRATION).write_bytes(encode(structs.replace(made.calibration, fingerprint=fingerprint)))
        seal(path, structs.replace(made.manifest, fingerprint=fingerprint, dimension=16 + len(name), files={}))
        site = structs.replace(made.calibration, fingerprint=fingerprint, calibrated_on="site")
        (tmp_path / f"{name}.json").write_bytes(encode(site))
    return tmp_path


def settings(folder: Path, *lines: str) -> Path:
    path = folder / "collector.toml"
    path.write_text("\n".join(['data = "data"', "trust = { allow_unsigned_bundle = true }", *lines]), "utf-8")
    return path


def test_each_bundle_is_accepted_with_the_calibration_that_is_for_it(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = settings(folder, 'bundle = "new"', 'also = ["old", "odd"]', 'also_calibration = ["odd.json"]')
    first = leading(load(path))
    assert [(one.fingerprint_hex, one.calibrated_on) for one in (first, *others(load(path), first))] == [
        (NAMES["new"], "drawn"), (NAMES["old"], "drawn"), (NAMES["odd"], "site")]
    for command in (["collector", str(path), "--check"], ["check-config", str(path)]):
        assert cli.main(command) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("# bundle")]
        assert [line.split()[2].rstrip(":,") for line in said] == [NAMES[name][:16] for name in ("new", "old", "odd")]
        assert [", accepted too" in line for line in said] == [False, True, True]
        assert [line.rpartition(" ")[2] for line in said] == ["drawn", "drawn", "site"]


@pytest.mark.parametrize(("lines", "code", "says"), [
    (['bundle = "new"', 'also = ["new"]'], 78, "expected bundles of other fingerprints than one another's"),
    (['bundle = "new"', 'also = ["old", "old"]'], 78, "expected bundles of other fingerprints than one another's"),
    (['bundle = "new"', 'also = ["none"]'], 65, "none"),
    (['bundle = "new"', 'also = ["old"]', 'also_calibration = ["new.json"]'], 65, "expected thresholds for"),
    (['bundle = "new"', 'also = ["old"]', 'also_calibration = ["old/MODEL.md"]'], 65, "MODEL.md"),
    (['bundle = "new"', 'also = ["old"]', 'also_calibration = ["none.json"]'], 78, "found no file that can be read"),
    (['bundle = "new"', 'also = ["old"]', 'also_calibration = ["old.json", "old.json"]'], 78,
     "expected one calibration for each bundle"),
    (['bundle = "new"', 'also_calibration = ["old.json"]'], 78, "expected bundles in also"),
    (['bundle = "new"', 'calibration = "old.json"', 'also = ["old"]'], 65, "expected thresholds for fingerprint")])
def test_bundles_and_calibrations_that_do_not_belong_together_are_one_sentence(
        folder: Path, capsys: pytest.CaptureFixture[str], lines: list[str], code: int, says: str) -> None:
    assert cli.main(["collector", str(settings(folder, *lines)), "--check"]) == code
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
