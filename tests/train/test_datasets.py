"""Each layout is read as its benchmark means it, on a small replica, and what is wrong with it is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cmnas_edge.errors import ConfigError
from cmnas_edge.synthetic.files import Asked
from cmnas_edge.synthetic.llcm import write_llcm
from cmnas_edge.synthetic.market import write_market
from cmnas_edge.synthetic.regdb import write_regdb
from cmnas_edge.synthetic.sysu import write_sysu
from train.data import datasets, layout, sysu
from train.data.datasets import DATASETS, drawn, read, recognise
from train.data.pictures import Pictures

ASKED = Asked(train=3, validation=2, test=4, per_camera=2, height=32, width=16)


@pytest.fixture(scope="session")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small replica of every dataset; a test that breaks one breaks a copy."""
    folder = tmp_path_factory.mktemp("replicas")
    write_sysu(folder / "sysu", **ASKED._asdict(), permutations=True)
    for name, write in (("regdb", write_regdb), ("llcm", write_llcm), ("market", write_market)):
        write(folder / name, ASKED)
    return {name: folder / name for name in DATASETS if (folder / name).exists()}


@pytest.fixture
def replica(request: pytest.FixtureRequest, replicas: dict[str, Path], tmp_path: Path) -> Path:
    """A replica of one's own."""
    return Path(shutil.copytree(replicas[request.param], tmp_path / "copy"))


def people(found: Pictures) -> list[int]:
    return np.unique(found.identity).tolist()


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm", "market"])
def test_a_replica_is_told_apart_and_every_picture_it_lists_is_there(replicas: dict[str, Path], name: str) -> None:
    root = replicas[name]
    assert recognise(root) == name
    assert drawn(root)
    for part in DATASETS[name].parts:
        found = read(root, part)
        assert len(found)
        assert all(found.file(row).is_file() for row in range(len(found)))
        assert len(set(found.paths)) == len(found)


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm", "market"])
def test_training_validation_and_test_share_nobody_and_trainval_is_both(replicas: dict[str, Path], name: str) -> None:
    root = replicas[name]
    learnt, others, both, tested = (read(root, part) for part in ("train", "validation", "trainval", "test"))
    assert sorted([*people(learnt), *people(others)]) == people(both)
    assert not set(people(both)) & set(people(tested))
    assert sorted([*learnt.paths, *others.paths]) == sorted(both.paths)
    query, gallery = read(root, "query"), read(root, "gallery")
    assert sorted([*query.paths, *gallery.paths]) == sorted(tested.paths)


def test_sysu_is_ordered_by_person_camera_and_name(replicas: dict[str, Path]) -> None:
    found = read(replicas["sysu"], "test")
    assert people(found) == [6, 7, 8, 9]
    assert list(found.paths[:3]) == ["cam1/0006/0001.jpg", "cam1/0006/0002.jpg", "cam2/0006/0001.jpg"]
    order = list(zip(found.identity.tolist(), found.camera.tolist(), found.paths, strict=True))
    assert order == sorted(order)
    assert (found.infrared == np.isin(found.camera, (3, 6))).all()
    query, gallery = read(replicas["sysu"], "query"), read(replicas["sysu"], "gallery")
    assert query.infrared.all()
    assert not gallery.infrared.any()
    assert [people(read(replicas["sysu"], part)) for part in ("train", "validation")] == [[1, 2, 3], [4, 5]]


def test_sysu_people_whom_a_camera_never_saw_are_read_under_the_others(replica_of_sysu: Path) -> None:
    shutil.rmtree(replica_of_sysu / "cam5" / "0006")
    found = read(replica_of_sysu, "gallery")
    assert set(found.camera[found.identity == 6].tolist()) == {1, 2, 4}


@pytest.fixture
def replica_of_sysu(replicas: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(replicas["sysu"], tmp_path / "copy"))


def test_the_official_permutations_are_read_for_every_camera_and_person(replicas: dict[str, Path]) -> None:
    found = sysu.permutations(replicas["sysu"])
    assert sorted(found) == [(camera, person) for camera in range(1, 7) for person in range(1, 10)]
    for runs in found.values():
        assert runs.shape == (10, 2)
        assert runs.dtype == np.int64
        assert (np.sort(runs, 1) == [1, 2]).all()
    assert len({runs.tobytes() for runs in found.values()}) > 10


def test_permutations_with_a_person_whom_a_camera_never_saw(replica_of_sysu: Path) -> None:
    from scipy.io import savemat

    cells = np.empty((6, 1), object)
    for camera in range(6):
        cells[camera, 0] = np.empty((4, 1), object)
        cells[camera, 0][:, 0] = [np.tile(np.arange(4, 0, -1, np.uint8), (10, 1)), np.zeros((0, 0)),
                                  np.ones((10, 1)), np.zeros((10, 0))]
    savemat(replica_of_sysu / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cells}, do_compression=True)
    found = sysu.permutations(replica_of_sysu)
    assert sorted(found) == [(camera, person) for camera in range(1, 7) for person in (1, 3)]
    assert found[2, 1][9].tolist() == [4, 3, 2, 1]


@pytest.mark.parametrize("broken", ["missing", "cut", "other variable", "a cell too deep", "five cameras",
                                    "counted from zero", "a number twice", "text", "nine runs", "no cells"])
def test_permutations_that_are_none_are_refused_by_name(replica_of_sysu: Path, broken: str) -> None:
    from scipy.io import savemat

    path = replica_of_sysu / "exp" / "rand_perm_cam.mat"
    good = np.empty((1, 1), object)
    good[0, 0] = np.tile(np.arange(1, 4), (10, 1))
    if broken == "missing":
        path.unlink()
    elif broken == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif broken == "text":
        path.write_text("none")
    else:
        cells = np.empty((5 if broken == "five cameras" else 6, 1), object)
        for camera in range(len(cells)):
            cells[camera, 0] = good.copy()
        if broken == "counted from zero":
            cells[3, 0][0, 0] = good[0, 0] - 1
        elif broken == "a number twice":
            cells[3, 0][0, 0] = good[0, 0].copy()
            cells[3, 0][0, 0][9, 0] = 3
        elif broken == "nine runs":
            cells[3, 0][0, 0] = good[0, 0][:9]
        elif broken == "a cell too deep":
            cells[3, 0][0, 0] = good.copy()
        elif broken == "no cells":
            cells[3, 0] = np.ones((10, 3))
        savemat(path, {"other" if broken == "other variable" else "rand_perm_cam": cells})
    with pytest.raises(ConfigError, match=r"rand_perm_cam\.mat: expected") as refused:
        sysu.permutations(replica_of_sysu)
    assert "\n" not in str(refused.value)


def test_regdb_splits_everybody_in_halves_ten_times(replicas: dict[str, Path]) -> None:
    halves = []
    for trial in range(1, 11):
        learnt, tested = (read(replicas["regdb"], part, trial=trial) for part in ("trainval", "test"))
        assert sorted([*people(learnt), *people(tested)]) == list(range(1, 10))
        assert len(tested) == 4 * 2 * 2
        halves.append(tuple(people(tested)))
    assert len(set(halves)) > 3
    query, gallery = (read(replicas["regdb"], part, trial=3) for part in ("query", "gallery"))
    assert not query.infrared.any()
    assert gallery.infrared.all()
    assert people(query) == people(gallery)
    assert query.paths[0].startswith("Visible/")
    assert query.paths[0].endswith(f"_{query.identity[0]}.bmp")


def test_regdb_people_are_numbered_by_folder_since_labels_start_at_zero_on_both_sides(tmp_path: Path) -> None:
    for name, lines in {"train": (("a/285/x.bmp", 0), ("a/9/x.bmp", 1)), "test": (("a/117/x.bmp", 0),)}.items():
        for band in ("visible", "thermal"):
            (tmp_path / "idx").mkdir(exist_ok=True)
            (tmp_path / "idx" / f"{name}_{band}_1.txt").write_text(
                "".join(f"{band}{path} {label}\r\n" for path, label in lines))
            for path, _ in lines:
                (tmp_path / f"{band}{path}").parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / f"{band}{path}").write_bytes(b"")
    assert people(DATASETS["regdb"].read(tmp_path, "trainval", 1)) == [9, 285]
    assert people(DATASETS["regdb"].read(tmp_path, "test", 1)) == [117]


@pytest.mark.parametrize(("name", "take", "of"), [("regdb", 50, 206), ("llcm", 178, 713), ("market", 151, 751)])
def test_validation_people_of_a_set_without_any_are_as_many_as_stated_and_always_the_same(
        name: str, take: int, of: int) -> None:
    from train.data import llcm, market, regdb

    module = {"regdb": regdb, "llcm": llcm, "market": market}[name]
    assert (take, of) == module._CARVED
    kept = layout.carved(range(1, of + 1), take, of)
    assert len(kept) == take
    assert kept == layout.carved(reversed(range(1, of + 1)), take, of)
    # By `printf 9 | sha256sum`, 19581e27 of "9" comes first of "1" to "9", then 2c624232 of "8".
    assert sorted(layout.carved(range(1, 10), 2, 9)) == [8, 9]
    assert layout.carved([5], take, of) == {5}


def test_llcm_knows_cameras_and_both_bands_of_everybody(replicas: dict[str, Path]) -> None:
    learnt, tested = read(replicas["llcm"], "trainval"), read(replicas["llcm"], "test")
    for found in (learnt, tested):
        assert set(found.camera[~found.infrared].tolist()) == set(range(1, 10))
        assert set(found.camera[found.infrared].tolist()) == set(range(1, 10)) - {3}
    assert learnt.paths[0] == "vis/0001/0001_c01_s100000_f1_vis.jpg"
    assert tested.paths[0] == "test_vis/cam1/0006/0006_c01_s100000_f1_vis.jpg"
    gallery = read(replicas["llcm"], "gallery")
    order = list(zip(gallery.identity.tolist(), gallery.camera.tolist(), gallery.paths, strict=True))
    assert order == sorted(order)
    assert read(replicas["llcm"], "query").infrared.all()


def test_market_keeps_distractors_and_junk_in_the_gallery_alone(replicas: dict[str, Path]) -> None:
    query, gallery, learnt = (read(replicas["market"], part) for part in ("query", "gallery", "trainval"))
    assert people(query) == [6, 7, 8, 9]
    assert people(gallery) == [-1, 0, 6, 7, 8, 9]
    assert people(learnt) == [1, 2, 3, 4, 5]
    assert len(query) == 4 * 6
    assert set(gallery.camera.tolist()) == set(range(1, 7))
    assert not gallery.infrared.any()


def test_names_are_parsed_by_pattern_and_what_is_no_picture_is_left_out(replica_of_sysu: Path) -> None:
    before = read(replica_of_sysu, "train").paths
    inside = replica_of_sysu / "cam1" / "0001"
    for name in ("Thumbs.db", ".DS_Store", "._0001.jpg"):
        (inside / name).write_bytes(b"x")
    assert read(replica_of_sysu, "train").paths == before
    (inside / "12345678.JPG").write_bytes(b"x")
    assert "cam1/0001/12345678.JPG" in read(replica_of_sysu, "train").paths
    (inside / "copy of 0001.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"copy of 0001\.jpg: expected a name such as 0001\.jpg"):
        read(replica_of_sysu, "train")


@pytest.mark.parametrize("replica", ["market"], indirect=True)
def test_names_of_another_set_in_market_s_folders_are_refused(replica: Path) -> None:
    (replica / "query" / "0005_c2_f0046985.jpg").write_bytes(b"")
    with pytest.raises(ConfigError, match="is this another dataset"):
        read(replica, "query")


def test_a_root_that_holds_nothing_says_what_would_be_there_and_where_to_ask(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError) as refused:
            recognise(root)
        message = str(refused.value)
        assert message.startswith(f"{root}: expected the folder of a dataset, found ")
        assert "\n" not in message
        for dataset in DATASETS.values():
            assert dataset.title in message
            assert dataset.ask in message
            assert dataset.tree in message
    with pytest.raises(ConfigError, match=r"expected RegDB, a folder with .*, found no .*; ask for it: Dongguk"):
        read(tmp_path, "train", name="regdb")


def test_a_root_one_level_off_is_told_the_right_one(replicas: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"found SYSU-MM01 in .*/sysu; give that folder"):
        recognise(replicas["sysu"] / "cam1")
    shutil.copytree(replicas["market"], tmp_path / "Market-1501-v15.09.15")
    with pytest.raises(ConfigError, match=r"found Market-1501 in .*/Market-1501-v15\.09\.15; give that folder"):
        recognise(tmp_path)


def test_half_an_archive_is_named_with_what_it_lacks(replica_of_sysu: Path) -> None:
    shutil.rmtree(replica_of_sysu / "cam5")
    (replica_of_sysu / "exp" / "val_id.txt").unlink()
    for name in (None, "sysu"):
        with pytest.raises(ConfigError, match=r"expected SYSU-MM01.*found no exp/val_id\.txt, cam5; extract the "
                                              r"archive again, or ask for it: https://github\.com/wuancong"):
            read(replica_of_sysu, "train", name=name)


def test_a_listed_person_without_pictures_is_named(replica_of_sysu: Path) -> None:
    for camera in range(1, 7):
        for person in ("0002", "0003"):
            shutil.rmtree(replica_of_sysu / f"cam{camera}" / person)
    with pytest.raises(ConfigError, match=r"all 3 identities of the train part .* found none of 2, the first 0002"):
        read(replica_of_sysu, "train")


@pytest.mark.parametrize("replica", ["regdb", "llcm"], indirect=True)
def test_listed_pictures_that_are_gone_are_counted_and_the_first_named(replica: Path) -> None:
    found = read(replica, "trainval")
    for row in (3, 5):
        found.file(row).unlink()
    with pytest.raises(ConfigError, match=r"line 4: expected all its \d+ pictures below .*, found 2 missing, the "
                                          r"first .*; extract the archive again") as refused:
        read(replica, "trainval")
    assert found.paths[3] in str(refused.value)


@pytest.mark.parametrize("replica", ["llcm"], indirect=True)
def test_llcm_people_to_test_without_pictures_are_named(replica: Path) -> None:
    for folder in replica.glob("test_*/cam*/0007"):
        shutil.rmtree(folder)
    with pytest.raises(ConfigError, match=r"all 4 identities .* found none of 1, the first 0007"):
        read(replica, "test")


@pytest.mark.parametrize(("replica", "file"), [("sysu", "exp/train_id.txt"), ("regdb", "idx/train_thermal_1.txt"),
                                              ("llcm", "idx/train_nir.txt")], indirect=["replica"])
@pytest.mark.parametrize(("content", "words"), [
    (b"", "found an empty file"), (b" \n\n", "found an empty file"), (b"\xff\xfe1,2", "not text"),
    (b"hello world", "hello")])
def test_a_split_file_that_is_none_is_named(replica: Path, file: str, content: bytes, words: str) -> None:
    (replica / file).write_bytes(content)
    with pytest.raises(ConfigError, match=words) as refused:
        read(replica, "train")
    assert str(refused.value).startswith(str(replica / file))


@pytest.mark.parametrize("replica", ["regdb"], indirect=True)
def test_a_line_that_repeats_another_counts_once_and_one_that_contradicts_is_refused(replica: Path) -> None:
    source = replica / "idx" / "train_visible_1.txt"
    lines, before = source.read_text().splitlines(), read(replica, "trainval")
    source.write_text("\n".join([*lines, lines[0], "./" + lines[1]]) + "\n")
    assert read(replica, "trainval").paths == before.paths
    source.write_text("\n".join([*lines, lines[0].rsplit(" ", 1)[0] + " 99"]))
    last = len(lines) + 1
    with pytest.raises(ConfigError, match=rf"line {last}: expected label 0 for Visible.* as in line 1, found 99"):
        read(replica, "trainval")


@pytest.mark.parametrize("replica", ["regdb"], indirect=True)
@pytest.mark.parametrize(("line", "words"), [
    ("a person under somebody else's label", "contradicts an earlier line"),
    ("Visible/999/x.bmp 0", "contradicts an earlier line"), ("Visible/x.bmp 77", "in the numbered folder of a person"),
    ("../1/x.bmp 0", "below the dataset's root"), ("/etc/1/x.bmp 0", "below the dataset's root"),
    ("Visible/1/x.bmp", "path and its label"), ("Visible/1/x.bmp -1", "path and its label")])
def test_a_line_that_labels_nobody_is_named(replica: Path, line: str, words: str) -> None:
    source = replica / "idx" / "train_visible_1.txt"
    lines = source.read_text().splitlines()
    if line.startswith("a person"):
        person = lines[-1].split("/")[1]
        line = f"Visible/{person}/x.bmp 0"
    source.write_text("\n".join([*lines, line]))
    with pytest.raises(ConfigError, match=words) as refused:
        read(replica, "trainval")
    assert f"line {len(lines) + 1}:" in str(refused.value)


def test_a_part_a_trial_or_a_name_that_does_not_exist_is_refused(replicas: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"expected a part train, validation, .* or test, found 'val'"):
        read(replicas["sysu"], "val")
    for trial in (0, 11):
        with pytest.raises(ConfigError, match=f"RegDB: expected a trial from 1 to 10, found {trial}"):
            read(replicas["regdb"], "train", trial=trial)
    with pytest.raises(ConfigError, match=r"expected folder, llcm, .* found 'cuhk'"):
        read(replicas["sysu"], "train", name="cuhk")


def test_pictures_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one = np.ones(1, np.int64)
    with pytest.raises(ValueError, match=r"camera: expected int64 of shape \(1,\), got int64 \(2,\)"):
        Pictures(tmp_path, ("a.jpg",), one, np.ones(2, np.int64), np.ones(1, bool))
    with pytest.raises(ValueError, match="infrared: expected bool"):
        Pictures(tmp_path, ("a.jpg",), one, one, one)  # type: ignore[arg-type]
    for path in ("/etc/passwd", "a/../../b", ""):
        with pytest.raises(ValueError, match="below the root"):
            Pictures(tmp_path, (path,), one, one, np.ones(1, bool))


def test_pictures_are_taken_by_position_and_by_mask(replicas: dict[str, Path]) -> None:
    found = datasets.read(replicas["sysu"], "query")
    some = found.take(np.array([5, 0, 5]))
    assert some.paths == (found.paths[5], found.paths[0], found.paths[5])
    assert some.identity.tolist() == found.identity[[5, 0, 5]].tolist()
    assert len(found.take(found.camera == 3)) == 4 * 2


@pytest.mark.parametrize("word", ["1_0", "+3", "-3", "\u0663", "9" * 19, "1" * 5_000])
def test_a_number_of_another_form_is_refused_in_one_short_sentence(replica_of_sysu: Path, word: str) -> None:
    (replica_of_sysu / "exp" / "train_id.txt").write_text(f"1,{word},2")
    with pytest.raises(ConfigError, match=r"train_id\.txt: expected numbers with commas between") as refused:
        read(replica_of_sysu, "train")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("replica", ["regdb"], indirect=True)
@pytest.mark.parametrize("line", [f"Visible/{'9' * 25}/x.bmp 0", f"Visible/1/x.bmp {'9' * 5_000}",
                                  "Visible/\u0661/x.bmp 0"])
def test_a_label_or_folder_beyond_any_number_is_named(replica: Path, line: str) -> None:
    source = replica / "idx" / "train_visible_1.txt"
    source.write_text(source.read_text() + line + "\n")
    with pytest.raises(ConfigError, match=r"train_visible_1\.txt, line \d+: expected") as refused:
        read(replica, "train")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("replica", ["market"], indirect=True)
def test_a_market_name_with_a_number_beyond_any_is_refused(replica: Path) -> None:
    (replica / "query" / f"{'9' * 30}_c1s1_000001_00.jpg").touch()
    with pytest.raises(ConfigError, match="is this another dataset"):
        read(replica, "query")


@pytest.mark.parametrize(("replica", "file"), [("sysu", "exp/train_id.txt"), ("regdb", "idx/train_visible_1.txt")],
                         indirect=["replica"])
def test_a_byte_order_mark_is_no_part_of_a_split(replica: Path, file: str) -> None:
    before = read(replica, "train").paths
    (replica / file).write_bytes(b"\xef\xbb\xbf" + (replica / file).read_bytes())
    assert read(replica, "train").paths == before
