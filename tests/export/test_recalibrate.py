"""A bundle is calibrated again in its place: whole at every moment, signed by nobody, its galleries as they were."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from cmnas_edge.bundle import CALIBRATION, SIGNATURE, Bundle, default_path
from cmnas_edge.calibration import PAIRS, Calibration
from cmnas_edge.calibration.fit import Scores
from cmnas_edge.embedding import unit
from cmnas_edge.errors import ConfigError
from cmnas_edge.retrieval import evaluate
from cmnas_edge.synthetic.crops import draw_set
from cmnas_edge.synthetic.sysu import write_sysu
from export import recalibrate, replacement
from export.__main__ import main
from export.calibration_report import lost, said_and_true
from export.mixed_gallery import Searched, in_mixed_gallery, on_one_scale
from export.recalibrate import found_in, put
from export.replacement import exchange
from tests.calibrations import calibration
from train.data.pictures import Pictures
from train.protocols.embeddings import Embeddings

FEW = ["--identities", "24", "--per-camera", "1", "--rate", "0.02", "--unsure-rate", "0.1", "--resamples", "20"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(default_path(), tmp_path / "bundle"))


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than everything else here."""
    monkeypatch.setattr(recalibrate, "draw_figure", lambda *_: None)


def calibrate(bundle: Path, *options: str) -> int:
    return main(["calibrate", str(bundle), "--picture", str(bundle.parent / "c.png"), *options])


def test_a_picture_is_not_put_into_the_bundle_which_it_would_break(
        bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(bundle, *FEW, "--picture", str(bundle / "c.png")) == 78
    assert "name another with --picture" in capsys.readouterr().err
    Bundle.open(bundle)


def test_a_bundle_gets_other_thresholds_and_keeps_its_fingerprint(
        bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Bundle.open(bundle)
    assert calibrate(bundle, *FEW) == 0
    after = Bundle.open(bundle)
    assert after.fingerprint == before.fingerprint
    assert after.calibration.schema == 2
    assert {threshold.false_match_rate for threshold in after.thresholds.values()} == {0.02}
    assert after.calibrated_on == "drawn"
    changed = {name for name, record in after.manifest.files.items() if before.manifest.files[name] != record}
    assert changed == {CALIBRATION, "MODEL.md"}
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle", "c.png"]
    assert (bundle.parent / "c.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    for name in PAIRS:
        assert f"{after.thresholds[name].score:.4f}" in said
        assert f"| {name} | {after.thresholds[name].score:.4f} | 0.02 |" in (bundle / "MODEL.md").read_text()
    assert re.search(r"those across modalities +\d+\.\d\d% +\d+\.\d\d%", said)


@pytest.mark.usefixtures("no_picture")
def test_a_dry_run_tells_the_same_and_changes_nothing(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in bundle.glob("*.*")}
    assert calibrate(bundle, *FEW, "--dry-run") == 0
    assert "unchanged" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in bundle.glob("*.*")} == before


@pytest.mark.usefixtures("no_picture")
def test_a_signature_is_gone_and_it_is_said(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = bundle.parent / "key.pem"
    assert main(["keygen", str(key)]) == 0
    assert main(["sign", str(bundle), "--key", str(key)]) == 0
    assert calibrate(bundle, *FEW) == 0
    assert "unsigned" in capsys.readouterr().out
    assert Bundle.open(bundle).signers == ()
    assert not (bundle / SIGNATURE).exists()


@pytest.mark.usefixtures("no_picture")
def test_a_datasets_people_are_read_split_and_said_to_be_what_they_are(
        bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "people"
    write_sysu(root, train=1, validation=1, test=48, per_camera=1, height=128, width=64, seed=77)
    assert calibrate(bundle, "--data", str(root), *FEW[4:]) == 0
    assert Bundle.open(bundle).calibrated_on == "drawn"
    assert "48 drawn people of SYSU-MM01 (test)" in capsys.readouterr().out
    (root / "drawn.json").unlink()      # now nobody says that they are drawn
    assert calibrate(bundle, "--data", str(root), *FEW[4:]) == 0
    found = Bundle.open(bundle)
    assert found.calibrated_on == "dataset"
    assert not found.calibration.only_suggests("visible-infrared")
    assert "**dataset's** people" in (bundle / "MODEL.md").read_text()


@pytest.mark.usefixtures("no_picture")
def test_a_folder_of_ones_own_people_is_read_and_calibrates(
        bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crops = draw_set(range(500, 548), (1, 2, 3, 6), 1, 128, 64, 78)
    for row, image in enumerate(crops.images):
        band = "infrared" if crops.infrared[row] else "visible"
        path = tmp_path / "people" / str(crops.identity[row]) / f"c{crops.camera[row]}" / band / "000001.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    assert calibrate(bundle, "--data", str(tmp_path), "--part", "trainval", *FEW[4:]) == 0
    found = Bundle.open(bundle)
    assert found.calibrated_on == "dataset"
    assert {scale.identity_count for scale in found.calibration.scales.values()} == {48}
    assert "48 people of" in capsys.readouterr().out
    # Without a part, the quarter that nobody learns from: too few of these.
    assert calibrate(bundle, "--data", str(tmp_path), *FEW[4:]) == 78
    assert "found 12; take another --part" in capsys.readouterr().err


def test_footage_of_which_nobody_has_said_who_is_who_calibrates_nothing(
        bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "from_video.json").write_text("{}")
    assert calibrate(bundle, "--data", str(tmp_path / "cut"), *FEW[4:]) == 78
    assert "nobody has said who is who" in capsys.readouterr().err


@pytest.mark.parametrize(("options", "words"), [
    (["--rate", "0.00001"], "larger --rate"), (["--prior", "1"], "between 0 and 1"), (["--rates", "many"], "--rates"),
    (["--identities", "2"], "--identities: expected 8 to"), (["--unsure-rate", "0.0001"], "unsure_rate"),
    (["--resamples", "1"], "--resamples"), (["--data", "/nowhere"], "/nowhere")])
def test_what_cannot_be_asked_is_refused_in_a_sentence_and_changes_nothing(
        bundle: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    before = (bundle / "manifest.json").read_bytes()
    assert calibrate(bundle, *FEW, *options) == 78
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert (bundle / "manifest.json").read_bytes() == before


def fitting(bundle: Path) -> Calibration:
    return calibration(fingerprint=Bundle.open(bundle).fingerprint_hex)


@pytest.mark.parametrize("where", ["exchange", "to_disk"])
def test_whatever_fails_before_the_exchange_leaves_the_old_bundle_whole(
        bundle: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    before = Bundle.open(bundle)

    def fail(*_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replacement, where, fail)
    with pytest.raises(KeyboardInterrupt):
        put(bundle, fitting(bundle))
    assert Bundle.open(bundle).manifest_sha256 == before.manifest_sha256
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_the_moment_after_the_exchange_the_new_bundle_is_whole_and_the_old_one_beside_it(
        bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def swap(a: Path, b: Path) -> None:
        exchange(a, b)
        seen.extend([Bundle.open(b).calibration, Bundle.open(a).calibration])

    before = Bundle.open(bundle).calibration
    monkeypatch.setattr(replacement, "exchange", swap)
    put(bundle, fitting(bundle))
    assert seen == [fitting(bundle), before]


@pytest.mark.parametrize("library", [True, False])
def test_two_paths_change_places_with_the_systems_help_or_without(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: bool) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    (a / "was a").touch()
    (b / "was b").touch()
    if not library:
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    exchange(a, b)
    assert [path.name for path in a.iterdir()] == ["was b"]
    assert [path.name for path in b.iterdir()] == ["was a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_link_is_not_replaced(bundle: Path) -> None:
    link = bundle.parent / "link"
    link.symlink_to(bundle)
    with pytest.raises(ConfigError, match="bundle install"):
        put(link, fitting(bundle))
    assert link.is_symlink()


def test_a_calibration_of_another_fingerprint_is_not_put_into_a_bundle(bundle: Path) -> None:
    before = Bundle.open(bundle).manifest_sha256
    with pytest.raises(Exception, match="calibrate this bundle"):
        put(bundle, calibration())
    assert Bundle.open(bundle).manifest_sha256 == before


def mixed(seed: int, gap: float) -> Embeddings:
    """People whose infrared vectors lie ``gap`` from their visible ones, all of them in one direction of their own."""
    rng = np.random.default_rng(seed)
    own, shift = rng.normal(size=(20, 1, 32)), rng.normal(size=(20, 1, 32)) * gap
    visible, infrared = (own + rng.normal(size=(20, 3, 32)) * 0.9, own + shift + rng.normal(size=(20, 3, 32)) * 0.9)
    rows = unit(np.concatenate([visible, infrared], axis=1).reshape(120, 32).astype(np.float32))
    return Embeddings(rows, np.repeat(np.arange(20), 6), np.tile([1, 2, 4, 3, 6, 9], 20),
                      np.tile([False] * 3 + [True] * 3, 20))


def test_the_mixed_gallery_is_what_retrieval_says_of_each_question() -> None:
    seen, found = mixed(0, 1.0), calibration()
    cosine = np.clip(seen.embedding @ seen.embedding.T, -1, 1)
    scale = on_one_scale(cosine, seen, found)
    hidden = seen.camera[:, None] == seen.camera[None]
    same = seen.infrared[:, None] == seen.infrared[None]
    own = seen.identity[:, None] == seen.identity[None]
    rows: dict[tuple[str, str], Searched] = {(row.asker, row.answers): row for row in in_mixed_gallery(seen, found)}
    for across, answers in ((False, "all right answers"), (True, "those across modalities")):
        excluded = hidden | (own & same) if across else hidden
        for asker, chosen in (("visible", ~seen.infrared), ("infrared", seen.infrared),
                              ("both", np.ones(120, bool))):
            row = rows[asker, answers]
            for value, score in ((row.before, cosine), (row.after, scale)):
                want = evaluate(-score[chosen], seen.identity[chosen], seen.identity, excluded=excluded[chosen])
                assert value == pytest.approx(want.mean_ap)
            assert row.gain.value == pytest.approx(row.after - row.before)
            assert row.gain.low <= row.gain.value <= row.gain.high


def test_one_scale_is_symmetric_and_each_entry_is_its_pairs() -> None:
    seen, found = mixed(1, 0.5), calibration()
    cosine = np.clip(seen.embedding @ seen.embedding.T, -1, 1)
    scale = on_one_scale(cosine, seen, found)
    np.testing.assert_allclose(scale, scale.T, atol=1e-5)
    for a, b, name in ((0, 1, "visible-visible"), (3, 4, "infrared-infrared"), (0, 3, "visible-infrared"),
                       (3, 0, "visible-infrared")):
        assert scale[a, b] == pytest.approx(found.normalise(name, float(cosine[a, b])))  # type: ignore[arg-type]


def test_evidence_loses_nothing_when_certain_and_everything_when_it_knows_nothing() -> None:
    assert lost(np.full(3, 50.0), np.full(3, -50.0), 0.01) == pytest.approx(0, abs=1e-9)
    assert lost(np.zeros(3), np.zeros(5), 0.01) == pytest.approx(1)
    assert lost(np.full(3, -5.0), np.full(3, 5.0), 0.5) > 1


def test_what_is_said_of_well_behaved_scores_is_true_and_the_prior_is_not_the_mix_at_hand() -> None:
    rng, found = np.random.default_rng(0), calibration(prior=0.3)
    # Two normal laws of which the evidence is 20 s - 12, the line of that pair: (0.85 - 0.35) / 0.025 = 20, and
    # 20 times the mean of 0.85 and 0.35 is 12.
    genuine, impostor = rng.normal(0.85, 0.025 ** 0.5, 20_000), rng.normal(0.35, 0.025 ** 0.5, 200_000)
    scores = Scores(genuine, np.zeros(20_000, np.int64), impostor, np.zeros((200_000, 2), np.int64))
    rows = said_and_true(found, "visible-visible", scores)
    assert len(rows) == 6
    for row in rows:
        assert row is not None
        assert row[0] == pytest.approx(row[1], abs=0.02)
    nothing = Scores(np.array([0.99]), np.zeros(1, np.int64), np.array([-0.9]), np.zeros((1, 2), np.int64))
    assert said_and_true(found, "visible-visible", nothing)[2] is None


def test_of_each_person_camera_and_modality_at_most_so_many_pictures_are_taken_evenly() -> None:
    n = 40
    pictures = Pictures(Path("/people"), tuple(f"{row}.jpg" for row in range(n)), np.repeat([1, 2], 20),
                        np.tile(np.repeat([1, 2], 10), 2), np.tile([False] * 10 + [True] * 10, 2))
    for k in (1, 2, 3, 7, 10, 50):
        taken = found_in(pictures, k)
        _, counts = np.unique(np.stack([taken.identity, taken.camera]), axis=1, return_counts=True)
        assert counts.tolist() == [min(k, 10)] * 4
    assert found_in(pictures, 2).paths[:4] == ("0.jpg", "5.jpg", "10.jpg", "15.jpg")


def test_a_bundle_of_schema_two_says_so_in_json(bundle: Path) -> None:
    put(bundle, fitting(bundle))
    assert json.loads((bundle / CALIBRATION).read_bytes())["schema"] == 2
