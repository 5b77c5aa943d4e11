"""A set of crops is what it says, and a drawn one can be drawn again."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from train.data.crops import Crops
from train.data.drawn import Drawn, draw


def test_a_drawn_set_is_the_same_every_time_and_its_fingerprint_sees_one_pixel() -> None:
    what = Drawn(identities=2, first_identity=5, cameras=(1, 3), per_camera=1)
    crops, again = draw(what, 64, 32), draw(what, 64, 32)
    assert crops.fingerprint() == again.fingerprint()
    assert (draw(msgspec.structs.replace(what, first_crop=1), 64, 32).images != crops.images).any()
    assert crops.identity.tolist() == [5, 5, 6, 6]
    assert crops.infrared.tolist() == [False, True] * 2
    touched = crops.images.copy()
    touched[0, 0, 0, 0] ^= 1
    assert Crops(touched, crops.identity, crops.camera, crops.infrared).fingerprint() != crops.fingerprint()


def test_sets_overlap_when_they_share_a_person_of_one_world() -> None:
    first = Drawn(identities=10, first_identity=0)
    assert first.overlaps(Drawn(identities=1, first_identity=9))
    assert not first.overlaps(Drawn(identities=1, first_identity=10))
    assert not first.overlaps(Drawn(identities=10, first_identity=0, seed=1))


def test_crops_whose_labels_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"camera: expected shape \(2,\)"):
        Crops(np.zeros((2, 32, 16, 3), np.uint8), np.zeros(2, np.int64), np.zeros(3, np.int64), np.zeros(2, bool))
    with pytest.raises(ValueError, match="images: expected uint8"):
        Crops(np.zeros((0, 32, 16, 3), np.uint8), *(np.zeros(0, np.int64),) * 2, np.zeros(0, bool))
