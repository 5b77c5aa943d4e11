"""``data check`` says which dataset lies in a folder, compares it with what was published, and names what is wrong."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.llcm import write_llcm
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu
from train.__main__ import main
from train.data import check
from train.data.check import Report, examine
from train.data.datasets import DATASETS
from train.data.layout import Count

ASKED = Asked(train=3, validation=2, test=3, per_camera=2, height=64, width=32)


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replicas")
    write_sysu(folder / "sysu", **ASKED._asdict(), permutations=True)
    for name, write in (("regdb", write_regdb), ("llcm", write_llcm), ("market", write_market)):
        write(folder / name, ASKED._replace(per_camera=1 if name == "llcm" else 2))
    return folder


@pytest.fixture
def sysu(replicas: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(replicas / "sysu", tmp_path / "sysu"))


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm", "market"])
def test_a_drawn_replica_is_known_as_one_and_has_nothing_wrong(
        replicas: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(replicas / name)]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == f"{replicas / name}: drawn people in the layout of {DATASETS[name].title}"
    assert lines[-1].endswith("pictures read, nothing wrong")
    assert not any(line.startswith(("wrong", "hint")) for line in lines)
    assert "published" not in said.out
    assert "100%" in said.err
    count = sum(path.suffix in (".jpg", ".bmp") for path in (replicas / name).rglob("*"))
    assert lines[-1].startswith(f"{count} pictures read")


def test_what_is_not_drawn_is_measured_by_what_was_published(sysu: Path) -> None:
    (sysu / "drawn.json").unlink()
    report = examine(sysu)
    told = {count.what: (count.published, count.found) for count in report.counts}
    assert told["both together"] == (395, 5)
    assert told["queries"] == (3_803, 3 * 2 * 2)
    assert told["gallery, all search, single shot"] == (301, 3 * 4)
    assert told["gallery, all search, multi shot"] == (3_010, 3 * 4 * 2)
    assert told["gallery, indoor search, single shot"] == (112, 3 * 2)
    assert told["infrared training pictures"] == (11_909, 5 * 2 * 2)
    assert len(report.wrong) == len(told) == 11
    assert "queries: expected 3,803, as published, found 12; is the archive whole?" in report.wrong
    assert "  queries                                           12  published: 3,803" in report.text().splitlines()


def test_numbers_as_published_are_called_so() -> None:
    report = Report(Path("x"), "SYSU-MM01", drawn=False, counts=[Count("queries", 3_803, 3_803)])
    assert report.text().splitlines()[1] == "  queries                                        3,803  as published"


def test_published_numbers_are_those_of_the_papers() -> None:
    assert _published("sysu") == [296, 99, 395, 96, 22_258, 11_909, 3_803, 301, 3_010, 112, 1_120]
    assert _published("regdb") == [206, 2_060, 2_060] * 2
    assert _published("llcm") == [713, 351, 16_946, 13_975, 8_680, 7_166]
    assert _published("market") == [751, 750, 12_936, 3_368, 19_732, 15_913]


_FOUND: dict[str, list[int | None]] = {}


@pytest.fixture(autouse=True, scope="module")
def _counts(replicas: Path) -> None:
    for name in ("sysu", "regdb", "llcm", "market"):
        _FOUND[name] = [count.published for count in DATASETS[name].counts(replicas / name)]


def _published(name: str) -> list[int | None]:
    return _FOUND[name]


def test_regdb_s_trials_are_told_apart_when_they_differ(replicas: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(replicas / "regdb", tmp_path / "regdb"))
    source = root / "idx" / "test_thermal_4.txt"
    source.write_text("\n".join(source.read_text().splitlines()[:-1]))
    told = {count.what: count.found for count in DATASETS["regdb"].counts(root)}
    assert told["identities to train, each of 10 trials"] == 5
    assert told["thermal pictures to test, trial 4"] == 5
    assert told["thermal pictures to test, trial 5"] == 6


def test_people_on_both_sides_of_a_split_are_named(sysu: Path) -> None:
    (sysu / "exp" / "test_id.txt").write_text("3,6,7,8")
    report = examine(sysu)
    assert [sentence for sentence in report.wrong if "nobody both in" in sentence] == [
        f"{sysu}: expected nobody both in train and in test, found 1 (3); restore the split files"]


def test_regdb_people_on_both_sides_of_one_trial_are_named(replicas: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(replicas / "regdb", tmp_path / "regdb"))
    for band in ("visible", "thermal"):
        stolen = (root / "idx" / f"train_{band}_7.txt").read_text().splitlines()[0].split(" ")[0]
        with (root / "idx" / f"test_{band}_7.txt").open("a") as file:
            file.write(f"{stolen} 3\n")
    assert any("nobody both in" in sentence and "and in test" in sentence and "of trial 7" in sentence
               for sentence in examine(root).wrong)
    assert sum("nobody both in" in sentence for sentence in examine(root).wrong) == 1


def test_market_s_distractors_and_junk_are_nobody_on_two_sides(replicas: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(replicas / "market", tmp_path / "market"))
    shutil.copy(next((root / "bounding_box_train").iterdir()), root / "bounding_box_train" / "0000_c1s1_000001_00.jpg")
    assert examine(root).wrong == []


BREAK: dict[str, Callable[[bytes], bytes]] = {"empty": lambda _: b"", "cut": lambda data: data[:len(data) // 2],
                                              "no picture": lambda _: b"<html>"}


@pytest.mark.parametrize("kind", BREAK)
def test_one_broken_picture_is_named_and_the_rest_is_looked_at(sysu: Path, capsys: pytest.CaptureFixture[str],
                                                               kind: str) -> None:
    path = sysu / "cam4" / "0003" / "0002.jpg"
    path.write_bytes(BREAK[kind](path.read_bytes()))
    assert main(["data", "check", str(sysu)]) == ConfigError.exit_code == 78
    said = capsys.readouterr()
    assert [line for line in said.out.splitlines() if line.startswith("wrong")] == [
        line for line in said.out.splitlines() if line.startswith(f"wrong: {path}: expected a picture, found ")]
    assert said.out.splitlines()[-1] == "96 pictures read, 1 wrong"


def test_many_broken_pictures_are_counted_and_the_first_named(sysu: Path) -> None:
    for path in sorted((sysu / "cam4").rglob("*.jpg"))[:5]:
        path.write_bytes(b"")
    report = examine(sysu)
    assert len(report.wrong) == 4
    assert "found 5 that cannot be decoded, the first 3 of which are named above" in report.wrong[-1]


def test_swapped_modalities_are_wrong(sysu: Path) -> None:
    (sysu / "cam3").rename(sysu / "aside")
    (sysu / "cam1").rename(sysu / "cam3")
    (sysu / "aside").rename(sysu / "cam1")
    report = examine(sysu)
    assert len(report.wrong) == 1
    assert "expected no colour in infrared, found infrared pictures with colour" in report.wrong[0]
    assert "chroma above 6: 16 (" in report.wrong[0]
    assert report.wrong[0].endswith("(cam3/0001/0001.jpg, cam3/0001/0002.jpg, cam3/0002/0001.jpg, ...); are the "
                                    "modalities swapped?")
    assert any(hint.startswith("visible pictures without colour, chroma at most 3: 16 (cam1/") for hint in report.hints)
    assert len(report.suspects) == 32


def test_one_grey_visible_picture_is_only_a_hint(sysu: Path) -> None:
    path = sysu / "cam1" / "0002" / "0001.jpg"
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    cv2.imwrite(str(path), picture)
    report = examine(sysu)
    assert report.wrong == []
    assert [hint.partition(";")[0] for hint in report.hints] == [
        "visible pictures without colour, chroma at most 3: 1 (cam1/0002/0001.jpg)"]
    assert report.pictures is not None
    assert [(report.pictures.paths[row], why) for row, why in report.suspects] == [
        ("cam1/0002/0001.jpg", "visible without colour")]


def test_one_coloured_infrared_picture_of_many_is_a_hint(sysu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(sysu / "cam1" / "0002" / "0001.jpg", sysu / "cam3" / "0002" / "0001.jpg")
    assert "are the modalities swapped" in examine(sysu).wrong[0]  # 1 of 32
    monkeypatch.setattr(check, "_FEW", 1 / 32)
    report = examine(sysu)
    assert report.wrong == []
    assert report.hints == [
        "pictures that are copies of another: 1 (cam3/0002/0001.jpg as cam1/0002/0001.jpg)",
        "infrared pictures with colour, chroma above 6: 1 (cam3/0002/0001.jpg)"]


def test_a_black_picture_is_a_hint(sysu: Path) -> None:
    cv2.imwrite(str(sysu / "cam3" / "0002" / "0001.jpg"), np.zeros((64, 32, 3), np.uint8))
    assert examine(sysu).hints == ["pictures nearly all black or all white: 1 (cam3/0002/0001.jpg)"]


def test_somebody_seen_in_one_modality_only_is_told(sysu: Path) -> None:
    for camera in (3, 6):
        shutil.rmtree(sysu / f"cam{camera}" / "0002")
    report = examine(sysu)
    assert [hint.partition(";")[0] for hint in report.hints] == ["train: identities seen in one modality only: 1 (2)"]
    assert [s for s in report.wrong if "rand_perm" not in s] == []


def test_lines_that_repeat_others_are_told(replicas: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(replicas / "llcm", tmp_path / "llcm"))
    source = root / "idx" / "train_nir.txt"
    source.write_text(source.read_text() + source.read_text().splitlines()[0] + "\n")
    report = examine(root)
    assert report.hints == [f"{source}: 1 line repeats another; each picture counts once"]
    assert report.wrong == []


def test_permutations_of_other_pictures_are_wrong(sysu: Path) -> None:
    (sysu / "cam2" / "0007" / "0002.jpg").unlink()
    report = examine(sysu)
    assert len(report.wrong) == 1
    assert "expected an order of all 1 pictures in cam2/0007, found 2 (1 such)" in report.wrong[0]
    (sysu / "exp" / "rand_perm_cam.mat").write_bytes(b"none")
    assert any("expected rand_perm_cam, six cells" in sentence for sentence in examine(sysu).wrong)


def test_what_a_split_lacks_is_said_and_the_other_pictures_are_still_looked_at(sysu: Path) -> None:
    for camera in range(1, 7):
        shutil.rmtree(sysu / f"cam{camera}" / "0007")
    (sysu / "cam1" / "0001" / "0001.jpg").write_bytes(b"")
    report = examine(sysu)
    assert any("found none of 1, the first 0007" in sentence for sentence in report.wrong)
    assert any("an empty file" in sentence for sentence in report.wrong)


def test_a_folder_without_a_dataset_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path)]) == 78
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected the folder of a dataset, found none of their files" in said


def test_the_sheet_shows_people_and_what_looks_wrong(sysu: Path, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    plain, odd = tmp_path / "plain.png", tmp_path / "odd.png"
    assert main(["data", "check", str(sysu), "--sheet", str(plain)]) == 0
    shutil.copy(sysu / "cam3" / "0002" / "0001.jpg", sysu / "cam1" / "0002" / "0001.jpg")
    assert main(["data", "check", str(sysu), "--sheet", str(odd)]) == 0
    assert f"{odd}: some people under every camera, then what looks wrong" in capsys.readouterr().out
    sheets = [cv2.imread(str(path)) for path in (plain, odd)]
    assert sheets[0] is not None
    assert sheets[1] is not None
    # A strip for each of eight people, and one more.
    strip = sheets[1].shape[0] - sheets[0].shape[0]
    assert sheets[0].shape[0] // strip == 8
    assert sheets[0].shape[1] == sheets[1].shape[1]
    assert len(np.unique(sheets[0])) > 50
    assert sorted(path.name for path in tmp_path.glob("*.png*")) == ["odd.png", "plain.png"]


def test_a_sheet_that_cannot_be_written_is_one_sentence(sysu: Path, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(sysu), "--sheet", str(tmp_path / "no" / "sheet.png")]) == 78
    assert "sheet.png: expected a file this user may write to" in capsys.readouterr().err


def test_help_lists_every_dataset_with_its_form_and_where_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for dataset in DATASETS.values():
        assert f"{dataset.title}: {dataset.tree}\n    ask: {dataset.ask}" in said


def _own(root: Path) -> Path:
    """Two cameras, four people, as from-video's crops become once somebody numbers them."""
    for person in range(1, 5):
        for camera, band in (("entrance", "visible"), ("entrance", "infrared"), ("yard", "infrared")):
            folder = root / "people" / str(person) / camera / band
            folder.mkdir(parents=True)
            grey = band == "infrared"
            picture = np.random.default_rng(person).integers(0, 256, (32, 16, 1 if grey else 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "000051.jpg"), cv2.resize(picture, (64, 128)))
    return root


def test_a_folder_of_one_s_own_people_is_read_and_checked(tmp_path: Path) -> None:
    root = _own(tmp_path)
    report = examine(root)
    assert report.wrong == []
    assert [(count.what, count.found) for count in report.counts] == [
        ("identities", 4), ("cameras", 2), ("visible pictures", 4), ("infrared pictures", 8)]
    assert "published" not in report.text()
    found = DATASETS["folder"].read(root, "trainval", 1)
    assert found.paths[:3] == ("people/1/entrance/visible/000051.jpg", "people/1/entrance/infrared/000051.jpg",
                               "people/1/yard/infrared/000051.jpg")
    assert found.camera[:3].tolist() == [1, 1, 2]
    learnt, others = (DATASETS["folder"].read(root, part, 1) for part in ("train", "validation"))
    assert (len(np.unique(learnt.identity)), len(np.unique(others.identity))) == (3, 1)


def test_a_person_s_folder_without_a_number_is_named(tmp_path: Path) -> None:
    _own(tmp_path)
    (tmp_path / "people" / "anna").mkdir()
    with pytest.raises(ConfigError, match=r"people/anna: expected a folder named by a person's number"):
        DATASETS["folder"].read(tmp_path, "train", 1)


def test_what_nothing_reads_in_a_folder_of_one_s_own_is_named(tmp_path: Path) -> None:
    people = _own(tmp_path) / "people"
    (people / "1" / "entrance" / "visible").rename(people / "1" / "entrance" / "Visible")
    (people / "2" / "yard" / "ir").mkdir()
    (people / "2" / "yard" / "000001.jpg").touch()
    (people / "3" / "000002.jpg").touch()
    (people / "notes.txt").touch()
    (people / "Thumbs.db").touch()
    (people / "4" / "yard" / "infrared" / "more").mkdir()
    assert examine(tmp_path).wrong == [
        f"{people}: expected folders of people, found 'notes.txt'; rename or move it",
        f"{people}/1/entrance: expected a folder visible and a folder infrared, found 'Visible'; rename or move it",
        (f"{people}/2/yard: expected a folder visible and a folder infrared, found '000001.jpg', 'ir'; rename or move "
         "them"),
        f"{people}/3: expected folders of cameras, found '000002.jpg'; rename or move it",
        f"{people}/4/yard/infrared: expected pictures, found 'more'; rename or move it"]


def test_a_folder_of_one_s_own_in_which_nothing_is_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "people" / "1" / "yard" / "ir").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"people/1/yard: expected a folder visible .*, found 'ir'"):
        DATASETS["folder"].read(tmp_path, "trainval", 1)


@pytest.mark.parametrize("other", ["01", "\u0661"])
def test_two_folders_of_one_person_are_not_put_together(tmp_path: Path, other: str) -> None:
    _own(tmp_path)
    (tmp_path / "people" / other).mkdir()
    with pytest.raises(ConfigError, match=rf"people/(1|{other}): expected .*'(01|{other})'"):
        DATASETS["folder"].read(tmp_path, "trainval", 1)


def test_a_person_s_number_of_many_digits_is_refused(tmp_path: Path) -> None:
    _own(tmp_path)
    (tmp_path / "people" / ("9" * 19)).mkdir()
    with pytest.raises(ConfigError, match="expected a folder named by a person's number"):
        DATASETS["folder"].read(tmp_path, "trainval", 1)


def test_people_who_are_listed_twice_in_a_line_are_told(sysu: Path) -> None:
    (sysu / "exp" / "train_id.txt").write_text("1,2,1,3,2\n")
    assert examine(sysu).hints == [
        f"{sysu}/exp/train_id.txt: 2 numbers repeat others; each person counts once"]


def test_a_picture_in_two_places_is_told(sysu: Path) -> None:
    shutil.copy(sysu / "cam1" / "0002" / "0001.jpg", sysu / "cam2" / "0003" / "0001.jpg")
    assert examine(sysu).hints == [
        "pictures that are copies of another: 1 (cam2/0003/0001.jpg as cam1/0002/0001.jpg); 1 of them of other people"]


def test_a_query_of_nobody_is_wrong(replicas: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(replicas / "market", tmp_path / "market"))
    one = next((root / "query").iterdir())
    one.rename(one.with_name("-1" + one.name[4:]))
    assert any("expected queries that ask for somebody, found 1 of identity -1 or 0" in sentence
               for sentence in examine(root).wrong)


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder, and rights that are not root's."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in sorted(folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


def _give_up_rights() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.parametrize("closed", ["", "exp", "exp/train_id.txt", "cam1", "cam1/0001", "cam1/0001/0001.jpg"])
def test_what_may_not_be_read_is_one_sentence(sysu: Path, nobody: Path, closed: str,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(shutil.copytree(sysu, nobody / "sysu"))
    (root / closed).chmod(0)
    _give_up_rights()
    assert main(["data", "check", str(root)]) == 78
    said = capsys.readouterr()
    told = [line for line in (said.out + said.err).splitlines() if "Permission denied" in line]
    assert told
    assert all(str(root / closed) in line for line in told)


def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path / ("x" * 300))]) == 78
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["folder", "dangling link", "pipe"])
def test_a_split_file_that_is_no_file_is_a_sentence(sysu: Path, kind: str) -> None:
    for name in ("exp/more.txt", "exp/train_id.txt"):
        path = sysu / name
        path.unlink(missing_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("nowhere")
        if name == "exp/more.txt":
            assert examine(sysu).wrong == []
    with pytest.raises(ConfigError, match=r"train_id\.txt") if kind == "dangling link" else nullcontext():
        assert any("train_id.txt: expected a split file" in sentence for sentence in examine(sysu).wrong)


def test_a_picture_that_is_a_pipe_is_not_waited_for(sysu: Path) -> None:
    path = sysu / "cam1" / "0002" / "0001.jpg"
    path.unlink()
    os.mkfifo(path)
    assert examine(sysu).wrong == [
        f"{path}: expected a picture, found something that is no file; extract it again from its archive"]


def test_tracklets_of_footage_are_told_what_is_still_to_do(tmp_path: Path) -> None:
    (tmp_path / "from_video.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"found tracklets cut by from-video, and nobody has said who is who; put "
                                          r"each person's pictures into people/17/entrance/visible"):
        examine(tmp_path)


def test_a_sheet_is_its_owner_s_only(sysu: Path, tmp_path: Path) -> None:
    (tmp_path / ".sheet.png.part").touch(0o644)
    assert main(["data", "check", str(sysu), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert stat.S_IMODE((tmp_path / "sheet.png").stat().st_mode) == 0o600
