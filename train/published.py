"""Lines of a table of results: ours, and what others have published by the protocols that can be run here.

Theirs are those of the papers, or of the released code and checkpoints where it says so, as rank-1 and mAP in
percent. A protocol nobody here is quoted by has no rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["COLUMNS", "PUBLISHED", "Line", "Published"]

COLUMNS = {"rank1": "rank-1", "rank10": "rank-10", "rank20": "rank-20", "mean_ap": "mAP", "mean_inp": "mINP"}


class Line(NamedTuple):
    """What came of one protocol.

    Attributes:
        protocol: Its name.
        figures: ``COLUMNS`` in percent, means over ``searches``.
        spread: Standard deviation of each over them.
        searches: Galleries searched.
        note: How, where there is more than one way.
    """

    protocol: str
    figures: dict[str, float]
    spread: dict[str, float]
    searches: int
    note: str = ""


class Published(NamedTuple):
    """A row of somebody else's table.

    Attributes:
        who: Method and where it was published.
        rank1: Percent.
        mean_ap: Percent, or None where it isn't told.
        gain: Whether both are what was gained over whatever was best before.
    """

    who: str
    rank1: float
    mean_ap: float | None
    gain: bool = False

    def cells(self) -> list[str]:
        """What a table has of it, in the order of ``COLUMNS``."""
        form = "+.2f" if self.gain else "g"
        known = {"rank1": self.rank1, "mean_ap": self.mean_ap}
        return ["" if known.get(key) is None else format(known[key], form) for key in COLUMNS]


_CMNAS, _AGW, _CAJ = "CM-NAS (ICCV 2021)", "AGW (TPAMI 2021)", "CAJ (ICCV 2021)"
_DEEN = "DEEN (CVPR 2023)"

PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "SYSU-MM01 all single-shot": (
        Published(_AGW, 47.50, 47.65),
        Published("CM-NAS, its published code in the hands of others, lowest", 52.6, None),
        Published("CM-NAS, its published code in the hands of others, highest", 56.0, None),
        Published(_CMNAS, 61.99, 60.02),
        Published(f"{_CMNAS}, gain it claims", 6.70, 6.13, gain=True),
        Published(_CAJ, 69.88, 66.89),
        Published("ResNet-50 baseline of MFEN (CVPR 2026)", 71.85, 68.95),
        Published(_DEEN, 74.7, 71.8),
    ),
    "SYSU-MM01 indoor single-shot": (
        Published(_AGW, 54.17, 62.97), Published(_CMNAS, 67.01, 72.95), Published(_CAJ, 76.3, 80.4),
        Published(_DEEN, 80.3, 83.3),
    ),
    "RegDB visible-infrared": (
        Published(_AGW, 70.05, 66.37), Published(_CMNAS, 84.54, 80.32),
        Published(f"{_CMNAS}, gain it claims", 12.17, 11.23, gain=True),
        Published(_CAJ, 85.03, 79.14), Published(_DEEN, 91.1, 85.1),
    ),
    "RegDB infrared-visible": (
        Published(_AGW, 70.49, 65.90), Published(_CMNAS, 82.57, 78.31), Published(_CAJ, 84.8, 77.8),
        Published(_DEEN, 89.5, 83.4),
    ),
    "LLCM infrared-visible": (
        Published(_AGW, 43.6, 51.8), Published(_CAJ, 48.8, 56.6), Published(_DEEN, 54.9, 62.9),
    ),
    "LLCM visible-infrared": (
        Published(_AGW, 51.5, 55.3), Published(_CAJ, 56.5, 59.8), Published(_DEEN, 62.5, 65.8),
    ),
    "LLCM visible-infrared, roles swapped as in the released code": (
        Published(f"{_DEEN}, its released code", 69.21, 55.52),
    ),
    "Market-1501 single query": (
        Published("osnet_x1_0, torchreid's model zoo", 94.2, 82.6),
        Published("osnet_x0_75, torchreid's model zoo", 93.7, 81.2),
        Published("osnet_x0_5, torchreid's model zoo", 92.5, 79.8),
        Published("osnet_x0_25, torchreid's model zoo", 91.2, 75.0),
        Published("resnet50_fc512, torchreid's model zoo", 90.8, 75.3),
    ),
}
"""By the name of the protocol, as `train.standings` has it."""
