"""A site calibrates itself from what it knows for certain, beside a running collector, and never touches the bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cmnas_edge.bundle import CALIBRATION, Bundle, seal
from cmnas_edge.calibration import PAIRS, Calibration, Pair, Scale, encode, read_calibration
from cmnas_edge.calibration.fit import Plan, Scores
from cmnas_edge.cli import main
from cmnas_edge.collector import settings as collector_settings
from cmnas_edge.collector.accepted import leading
from cmnas_edge.collector.calibrating_commands import refine
from cmnas_edge.collector.person_commands import user
from cmnas_edge.collector.store.records import Decision
from cmnas_edge.errors import ConfigError
from tests.calibrations import calibration
from tests.collector.house import House
from tests.collector.people import FINGERPRINT, THRESHOLDS, People, write_bundle

COUNT = 24
COUPLES = COUNT * (COUNT - 1) // 2
PLANS: dict[Pair, Plan] = {name: Plan(rate=0.02, unsure_rate=0.2, rates=(), resamples=20) for name in PAIRS}


def drawn() -> Calibration:
    return calibration(fingerprint=FINGERPRINT.hex(), thresholds=THRESHOLDS)


def scores(seed: int, *, count: int = 14, apart: int = 3) -> Scores:
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(count), apart)
    a, b = np.triu_indices(len(who), 1)
    same = who[a] == who[b]
    found = np.where(same, 0.7, 0.2) + rng.normal(0, 0.1, len(a))
    return Scores(found[same], who[a][same], found[~same], np.stack([who[a], who[b]], 1)[~same])


NOBODY = Scores(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2), np.int64))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of a collector with a bundle of schema 2."""
    folder = write_bundle(tmp_path / "bundle")
    manifest = Bundle.open(folder).manifest
    (folder / CALIBRATION).write_bytes(encode(drawn()))
    seal(folder, manifest)
    path = tmp_path / "collector.toml"
    path.write_text('data = "data"\nbundle = "bundle"\n[trust]\nallow_unsigned_bundle = true\n')
    return path


@pytest.fixture
def site(config: Path) -> House:
    """People who stood before two visible cameras and an infrared one together, and were confirmed; it still runs."""
    people, house = People(gap=0.5), House(config.parent / "data", now=2000.0)
    for at, camera, modality in ((1000.0, "north", "visible"), (1100.0, "south", "visible"),
                                 (1200.0, "yard", "infrared"), (1300.0, "gate", "infrared")):
        house.send(*[people.sighting(person, at=at + person / 10, camera=camera, modality=modality, lasting=20.0)  # type: ignore[arg-type]
                     for person in range(COUNT)])
    house.settle()
    for person in range(COUNT):
        about = [1 + person + COUNT * visit for visit in range(4)]
        house.journal.decide(Decision(1500.0, "ada", "confirm", "I know them", {"tracklets": about, "moved": []}))
    return house


def calibrate(config: Path, *options: str) -> int:
    return main(["collector", "calibrate", "--config", str(config), *options])


def test_a_site_makes_a_calibration_of_its_own_beside_a_running_collector(
        config: Path, site: House, capsys: pytest.CaptureFixture[str]) -> None:
    before = Bundle.open(config.parent / "bundle").manifest_sha256
    out = config.parent / "site.json"
    assert calibrate(config, "--out", str(out), "--rate", "0.05") == 0
    said = capsys.readouterr().out
    site.close()
    found = read_calibration(out.read_bytes(), FINGERPRINT.hex(), "here")
    assert found.calibrated_on == "site"
    assert not found.only_suggests("visible-infrared")
    # People in view together are strangers two by two; confirmed, so is each one's every view with the other's.
    assert {name: found.thresholds[name].impostor_count for name in PAIRS} == {
        "visible-visible": COUPLES * 4, "infrared-infrared": COUPLES * 4, "visible-infrared": COUPLES * 8}
    assert {name: found.thresholds[name].genuine_count for name in PAIRS} == {
        "visible-visible": COUNT, "infrared-infrared": COUNT, "visible-infrared": 4 * COUNT}
    assert f"{COUNT} people confirmed" in said
    assert f'calibration = "{out.name}"' in said
    assert "much" in said       # these people are not the ones the bundle's histograms tell of
    assert Bundle.open(config.parent / "bundle").manifest_sha256 == before


def test_the_settings_name_it_and_it_judges(config: Path, site: House) -> None:
    out = config.parent / "site.json"
    assert calibrate(config, "--out", str(out), "--rate", "0.05") == 0
    site.close()
    assert leading(collector_settings.load(config)).calibrated_on == "drawn"
    config.write_text('calibration = "site.json"\n' + config.read_text())
    model = leading(collector_settings.load(config))
    assert model.calibrated_on == "site"
    assert model.thresholds == read_calibration(out.read_bytes(), FINGERPRINT.hex(), "here").thresholds
    assert model.fingerprint == FINGERPRINT


def test_who_calibrates_and_from_how_much_stands_in_the_audit_log_or_nothing_is_written(
        config: Path, site: House, capsys: pytest.CaptureFixture[str]) -> None:
    out = config.parent / "site.json"
    assert calibrate(config, "--out", str(out), "--rate", "0.05", "--reason", "new cameras") == 0
    assert calibrate(config) == 0
    looked, made = site.audit_log.page(limit=2)
    assert (made.kind, made.who, made.origin, made.reason) == ("calibration", user(), "command", "new cameras")
    assert made.asked == {
        "do": "calibrate", "rate": 0.05, "out": str(out), "tracklets": 4 * COUNT, "people": COUNT,
        "pairs": {"visible-visible, strangers": 4 * COUPLES, "visible-visible, one person": COUNT,
                  "infrared-infrared, strangers": 4 * COUPLES, "infrared-infrared, one person": COUNT,
                  "visible-infrared, strangers": 8 * COUPLES, "visible-infrared, one person": 4 * COUNT}}
    assert (looked.kind, looked.asked["out"], looked.asked["rate"]) == ("calibration", None, None)
    out.unlink()
    site.close()
    (site.folder / "audit.log").unlink()
    (site.folder / "audit.log").mkdir()
    capsys.readouterr()
    assert calibrate(config, "--out", str(out), "--rate", "0.05") == 78
    said = capsys.readouterr()
    assert "audit.log" in said.err
    assert said.out == ""
    assert not out.exists()


def test_without_a_file_to_write_drift_is_told_and_nothing_written(
        config: Path, site: House, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in config.parent.iterdir())
    assert calibrate(config) == 0
    site.close()
    said = capsys.readouterr().out
    assert said.count("strangers ") == 3
    assert "nothing written" in said
    assert sorted(path.name for path in config.parent.iterdir()) == before


def test_too_little_is_refused_with_what_is_needed_and_nothing_is_written(
        config: Path, site: House, capsys: pytest.CaptureFixture[str]) -> None:
    out = config.parent / "site.json"
    assert calibrate(config, "--out", str(out), "--rate", "0.001") == 78
    site.close()
    said = capsys.readouterr().err
    assert "expected at least 10000 pairs of strangers and 20 of the same person, of 8 people" in said
    assert not out.exists()


def test_a_file_that_is_no_calibration_of_this_bundle_is_not_replaced(
        config: Path, site: House, capsys: pytest.CaptureFixture[str]) -> None:
    out = config.parent / "site.json"
    out.write_text("my notes")
    assert calibrate(config, "--out", str(out), "--rate", "0.05") == 65
    site.close()
    assert out.read_text() == "my notes"
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("text", "code"), [(None, 78), ("notes", 65), (encode(calibration()).decode(), 65)])
def test_settings_that_name_what_does_not_fit_start_nothing(
        config: Path, capsys: pytest.CaptureFixture[str], text: str | None, code: int) -> None:
    if text is not None:
        (config.parent / "site.json").write_text(text)
    config.write_text('calibration = "site.json"\n' + config.read_text())
    assert main(["collector", str(config), "--check"]) == code
    assert "site.json" in capsys.readouterr().err


def test_no_journal_is_told_in_a_sentence(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(config) == 78
    assert "expected a collector's journal, found none" in capsys.readouterr().err


def test_a_journal_of_the_first_release_is_brought_up_by_its_collector_not_here(
        config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = config.parent / "data" / "journal.sqlite"
    journal.parent.mkdir()
    shutil.copy(Path(__file__).parents[1] / "contract" / "0.1.0" / "journal.sqlite", journal)
    before = journal.read_bytes()
    assert calibrate(config) == 78
    assert "found 1; start this release's collector once" in capsys.readouterr().err
    assert journal.read_bytes() == before
    journal.write_bytes(b"my notes, which are no database of any kind, and long enough to be looked at" * 20)
    assert calibrate(config) == 78
    assert "found a file that cannot be read" in capsys.readouterr().err


def test_a_pair_of_which_too_little_was_seen_keeps_its_scale_and_whose_it_is() -> None:
    earlier = drawn()
    seen: dict[Pair, Scores] = {"visible-visible": scores(0), "infrared-infrared": scores(1),
                                "visible-infrared": NOBODY}
    refined = refine(earlier, seen, PLANS)
    assert refined.found.calibrated_on == "site"
    assert set(refined.lacking) == {"visible-infrared"}
    assert refined.found.thresholds["visible-infrared"] == earlier.thresholds["visible-infrared"]
    assert refined.found.origin("visible-infrared") == "drawn"
    assert refined.found.only_suggests("visible-infrared")
    assert refined.found.origin("visible-visible") == "site"
    assert refined.found.thresholds["visible-visible"].false_match_rate == 0.02
    assert read_calibration(encode(refined.found), FINGERPRINT.hex(), "here") == refined.found


def test_a_second_refinement_keeps_what_the_first_found_and_says_so() -> None:
    first = refine(drawn(), {name: scores(at) for at, name in enumerate(PAIRS)}, PLANS).found
    seen: dict[Pair, Scores] = {"visible-visible": scores(5), "infrared-infrared": NOBODY, "visible-infrared": NOBODY}
    second = refine(first, seen, PLANS).found
    assert [second.origin(name) for name in PAIRS] == ["site"] * 3
    assert second.scales["visible-infrared"] == first.scales["visible-infrared"]


def test_nothing_is_refined_of_nothing_and_no_scale_is_invented_for_a_bundle_without() -> None:
    with pytest.raises(ConfigError, match="confirm more links"):
        refine(drawn(), dict.fromkeys(PAIRS, NOBODY), PLANS)
    alone = calibration(schema=1, scales={}, prior=None, fingerprint=FINGERPRINT.hex())
    seen: dict[Pair, Scores] = {"visible-visible": scores(0), "infrared-infrared": scores(1),
                                "visible-infrared": NOBODY}
    with pytest.raises(ConfigError, match="calibrate the bundle first"):
        refine(alone, seen, PLANS)
    found = refine(alone, {name: scores(at) for at, name in enumerate(PAIRS)}, PLANS).found
    assert found.schema == 2
    assert found.prior == Plan().prior


def test_a_scale_that_is_kept_is_the_earlier_one_but_for_whose_it_is() -> None:
    earlier = calibration(calibrated_on="dataset", fingerprint=FINGERPRINT.hex(),
                          scales={name: msgspec.structs.replace(one, calibrated_on="dataset")
                                  for name, one in drawn().scales.items()})
    seen: dict[Pair, Scores] = {"visible-visible": scores(0), "infrared-infrared": NOBODY, "visible-infrared": NOBODY}
    kept: Scale = refine(earlier, seen, PLANS).found.scales["visible-infrared"]
    assert kept == earlier.scales["visible-infrared"]
