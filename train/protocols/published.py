"""What others published, for standing beside our figures; rank-1 and mAP in percent.

Copied from where ``source`` says, not run here. Figures on made-up people are compared with none of
these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from train.protocols.rows import DRAWN, EUCLIDEAN, Row

__all__ = ["ROWS", "beside"]

_CM_NAS = "Fu et al., ICCV 2021; README of JDAI-CV/CM-NAS"
_UNVERIFIED = "CM-NAS, from memory, not verified"
_USERS = "JDAI-CV/CM-NAS issue 3, three users retraining the released part"
_AGW = "Ye et al., TPAMI 2021"
_CAJ = "Ye et al., ICCV 2021"
_MFEN = "MFEN, CVPR 2026, its own baseline"
_LUCKY = "ResNet-50 baseline for the official galleries (LuckyDC)"
_LLCM = "Zhang and Wang, CVPR 2023"
_LLCM_CODE = "README of ZYK100/LLCM, as updated"
_ZOO = "model zoo of torchreid (KaiyangZhou/deep-person-reid)"


def _row(dataset: str, setting: str, system: str, rank1: float, mean_ap: float | None, source: str, note: str = "",
         mean_inp: float | None = None) -> Row:
    figures = {"rank1": rank1, "mean_ap": mean_ap, "mean_inp": mean_inp}
    return Row(dataset, setting, system, {name: value for name, value in figures.items() if value is not None},
               source=source, note=note)


def _zoo(system: str, rank1: float, mean_ap: float, note: str = "") -> Row:
    return replace(_row("market", "single query", system, rank1, mean_ap, _ZOO, note), variant=EUCLIDEAN)


_ALL, _ALL_MULTI = "all, single-shot", "all, multi-shot"
_INDOOR, _INDOOR_MULTI = "indoor, single-shot", "indoor, multi-shot"
_SWAPPED = "visible-infrared, roles swapped"

ROWS: tuple[Row, ...] = (
    _row("sysu", _ALL, "CM-NAS", 61.99, 60.02, _CM_NAS),
    Row("sysu", _ALL, "CM-NAS, gain it claims over the best before", {"rank1": 6.70, "mean_ap": 6.13}, gain=True,
        source="abstract of CM-NAS"),
    Row("sysu", _ALL, "CM-NAS, retrained by outsiders", {}, interval={"rank1": (52.6, 56.0)}, source=_USERS),
    _row("sysu", _ALL, "AGW", 47.50, 47.65, _AGW, mean_inp=35.30),
    _row("sysu", _ALL, "CAJ", 69.88, 66.89, _CAJ),
    _row("sysu", _ALL, "DEEN", 74.7, 71.8, _LLCM, "384x144"),
    _row("sysu", _ALL, "ResNet-50 baseline, 2021", 57.51, 54.60, _LUCKY, "official galleries"),
    _row("sysu", _ALL, "ResNet-50 baseline, 2026", 71.85, 68.95, _MFEN, "384x192"),
    _row("sysu", _ALL_MULTI, "CM-NAS", 68.68, 53.45, _UNVERIFIED),
    _row("sysu", _INDOOR, "CM-NAS", 67.01, 72.95, _CM_NAS),
    _row("sysu", _INDOOR, "AGW", 54.17, 62.97, _AGW),
    _row("sysu", _INDOOR, "CAJ", 76.3, 80.4, _CAJ),
    _row("sysu", _INDOOR, "DEEN", 80.3, 83.3, _LLCM, "384x144"),
    _row("sysu", _INDOOR_MULTI, "CM-NAS", 76.48, 65.11, _UNVERIFIED),
    _row("regdb", "visible-infrared", "CM-NAS", 84.54, 80.32, _CM_NAS),
    Row("regdb", "visible-infrared", "CM-NAS, gain it claims over the best before",
        {"rank1": 12.17, "mean_ap": 11.23}, gain=True, source="abstract of CM-NAS"),
    _row("regdb", "visible-infrared", "AGW", 70.05, 66.37, _AGW),
    _row("regdb", "visible-infrared", "CAJ", 85.03, 79.14, _CAJ),
    _row("regdb", "visible-infrared", "DEEN", 91.1, 85.1, _LLCM, "384x144"),
    _row("regdb", "infrared-visible", "CM-NAS", 82.57, 78.31, _CM_NAS),
    _row("regdb", "infrared-visible", "AGW", 70.49, 65.90, _AGW),
    _row("regdb", "infrared-visible", "CAJ", 84.8, 77.8, _CAJ),
    _row("regdb", "infrared-visible", "DEEN", 89.5, 83.4, _LLCM, "384x144"),
    _row("llcm", "infrared-visible", "AGW", 43.6, 51.8, _LLCM),
    _row("llcm", "infrared-visible", "AGW", 49.13, 55.80, _LLCM_CODE),
    _row("llcm", "infrared-visible", "CAJ", 48.8, 56.6, _LLCM),
    _row("llcm", "infrared-visible", "CAJ", 49.86, 56.40, _LLCM_CODE),
    _row("llcm", "infrared-visible", "DEEN", 54.9, 62.9, _LLCM),
    _row("llcm", "infrared-visible", "DEEN", 55.52, 62.07, _LLCM_CODE),
    _row("llcm", "visible-infrared", "AGW", 51.5, 55.3, _LLCM),
    _row("llcm", "visible-infrared", "CAJ", 56.5, 59.8, _LLCM),
    _row("llcm", "visible-infrared", "DEEN", 62.5, 65.8, _LLCM),
    _row("llcm", _SWAPPED, "AGW", 63.72, 47.21, _LLCM_CODE),
    _row("llcm", _SWAPPED, "CAJ", 63.73, 47.71, _LLCM_CODE),
    _row("llcm", _SWAPPED, "DEEN", 69.21, 55.52, _LLCM_CODE),
    _zoo("osnet_x1_0", 94.2, 82.6),
    _zoo("osnet_x0_75", 93.7, 81.2),
    _zoo("osnet_x0_5", 92.5, 79.8),
    _zoo("osnet_x0_25", 91.2, 75.0),
    _zoo("resnet50", 87.9, 70.4, "last stride 2"),
    _zoo("resnet50_fc512", 90.8, 75.3, "last stride 1"),
    _zoo("osnet_x1_0", 66.6, 37.5, "trained on MSMT17 alone"),
    _zoo("osnet_x0_25", 59.9, 31.0, "trained on MSMT17 alone"),
    _zoo("resnet50", 46.3, 22.8, "trained on MSMT17 alone"),
)
"""By dataset and setting, in the order in which they are shown."""


def beside(rows: Sequence[Row], backbone: str | None = None) -> list[Row]:
    """Our rows, each setting's followed by what others published in it.

    Args:
        rows: Our own, in order; none stand beside those of drawn people.
        backbone: Show of a model zoo this one alone, whatever its head.
    """
    found: list[Row] = []
    settings = dict.fromkeys((row.kind, row.dataset, row.setting) for row in rows)
    for kind, dataset, setting in settings:
        ours = [row for row in rows if (row.kind, row.dataset, row.setting) == (kind, dataset, setting)]
        found += ours
        if all(row.note == DRAWN for row in ours):
            continue
        found += [row for row in ROWS if (row.kind, row.dataset, row.setting) == (kind, dataset, setting)
                  and (backbone is None or row.source != _ZOO or row.system.removesuffix("_fc512") == backbone)]
    return found
