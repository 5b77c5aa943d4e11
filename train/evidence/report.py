"""``docs/results.md``: the prose of ``story.md`` with figures, tables and pictures from the records.

A section whose slot has nothing to show yet is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from train.evidence import pictures
from train.evidence.plan import BACKBONE, GROUPS, SEARCHES, START, STEPS, Fit, K, P, Search, Work
from train.evidence.records import Records
from train.evidence.sets import HEIGHT, WIDTH
from train.evidence.tables import ASKED, Row, difference, rows, verdict
from train.networks.cost import size_of

__all__ = ["write"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
_STORY = Path(__file__).with_name("story.md")

Slot = Callable[[Sequence[Work], Records], str]


def write(works: Sequence[Work], records: Records, folder: Path = DOCS) -> list[Path]:
    """Write the document and the pictures it shows.

    Args:
        works: The plan.
        records: What has been made of it.
        folder: ``results.md`` goes here, pictures into ``results/`` beside it.

    Returns:
        What was written.
    """
    (folder / "results").mkdir(parents=True, exist_ok=True)
    written = []
    filled = {name: slot(works, records) for name, slot in _SLOTS.items()}
    for name, draw in pictures.ALL.items():
        path = folder / "results" / name
        filled[name] = ""
        if draw(works, records, path):
            written.append(path)
            filled[name] = f"![{name.removesuffix('.png').replace('_', ' ')}](results/{name})"
    sections = re.split(r"(?m)^(?=## )", _STORY.read_text("utf-8"))
    kept = [_fill(section, filled) for section in sections if all(filled[name] for name in _slots(section))]
    path = folder / "results.md"
    path.write_text("".join(kept).rstrip() + "\n", encoding="utf-8")
    return [path, *written]


def _slots(section: str) -> list[str]:
    """Those that must have something to show; a sentence about the start may wait."""
    return [name for name in re.findall(r"\{([a-z0-9_.]+)\}", section) if name != "start"]


def _fill(section: str, filled: dict[str, str]) -> str:
    return re.sub(r"\{([a-z0-9_.]+)\}", lambda slot: filled[slot[1]], section)


def _made(works: Sequence[Work], records: Records) -> str:
    made = [records[work.name] for work in works if work.name in records]
    if not made:
        return "Nothing is made yet"
    hours, dates = sum(row["seconds"] for row in made) / 3600, sorted(row["date"] for row in made)
    return (f"{len(made)} of {len(works)} runs are made, one thread each, up to {dates[-1]} ({made[-1]['cpu']}): "
            f"{hours:.1f} hours from start to end of each, added up; the machine did other things, too")


def _setting(works: Sequence[Work], records: Records) -> str:  # noqa: ARG001 - as every slot
    return (f"{BACKBONE}, 128x64, {STEPS} steps of {2 * P * K} crops ({P} people, {K} visible and {K} infrared crops "
            "each), bf16 convolutions, AdamW, cosine, moving average")


def _start(works: Sequence[Work], records: Records) -> str:  # noqa: ARG001
    if (start := records.get(START)) is None:
        return ""
    asked, seen = start["pairs"][ASKED], start["pairs"]["visible-visible"]
    return (f"That start alone finds {asked['rank1']:.1f} % of infrared people at rank 1 (mAP {asked['mean_ap']:.1f}), "
            f"and {seen['rank1']:.1f} % of visible ones.")


def _table(found: Iterable[Row], against: Row | None) -> str:
    head = ["network", "seeds", "sites split", "kB of both", "I->V rank-1", "I->V mAP", "V->I mAP", "V->V mAP"]
    if against:
        head.append(f"mAP against {against.label}")
    lines = [_line(head), _line(["---"] * len(head))]
    for row in found:
        cells = [row.label, f"{row.seeds}", row.split, f"{row.kilobytes:.0f}", row.cell(ASKED, "rank1"),
                 row.cell(ASKED, "mean_ap"), row.cell("visible-infrared", "mean_ap"),
                 row.cell("visible-visible", "mean_ap")]
        if against:
            cells.append("" if row.label == against.label else difference(row, against).text)
        lines.append(_line(cells))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _labelled(works: Sequence[Work], records: Records, question: str) -> dict[str, Row]:
    return {row.label: row for row in rows(works, records, question)}


def _table_of(question: str, against: str = "") -> Slot:
    def table(works: Sequence[Work], records: Records) -> str:
        found = _labelled(works, records, question)
        return _table(found.values(), found.get(against)) if found else ""

    return table


def _sites_verdict(works: Sequence[Work], records: Records) -> str:
    found = _labelled(works, records, "sites")
    if "searched" not in found:
        return "The search has not been run."
    others = {"shared": "everything shared", "split": "everything split", "random": "as many sites at random"}
    lines = [f"- {label.capitalize().replace('_', ' ')} against {says}: {verdict(found[label], found[other])}"
             for label in ("searched", "voted", "early_half") if label in found
             for other, says in others.items() if other in found]
    if {"shared", "split"} <= set(found):
        lines.append(f"- Everything split against everything shared: {verdict(found['split'], found['shared'])}")
    return "\n".join(lines)


def _stress_apart(works: Sequence[Work], records: Records) -> str:  # noqa: ARG001
    shares = [one["class_mmd"] / one["between"] for name in ("stress/shared/0", "sites/shared/0")
              if (row := records.get(name)) and (one := row["apart"]["before"])]
    if len(shares) < 2:
        return ""
    return (f"To the start, the modalities of one person lie {shares[0]:.2f} times as far apart as two people do "
            f"(class-wise MMD); without the shift {shares[1]:.2f} times.")


def _stress_verdict(works: Sequence[Work], records: Records) -> str:
    found, search = _labelled(works, records, "stress"), records.get("search under stress")
    lines = [f"- The search split {len(search['split'])} of 80 sites."] if search else []
    lines += [f"- {one.capitalize()} against {other}: {verdict(found[one], found[other])}"
              for one, other in (("split", "shared"), ("searched", "shared"), ("searched", "split"))
              if {one, other} <= set(found)]
    return "\n".join(lines)


def _control_verdict(works: Sequence[Work], records: Records) -> str:
    found, search = _labelled(works, records, "control"), records.get("search without a gap")
    lines = []
    if search:
        there = [f"{len(records[name]['split'])}" for name in SEARCHES if name in records]
        lines.append(f"- The search split {len(search['split'])} of 80 sites here, and {', '.join(there)} where there "
                     "is a gap.")
    if {"shared", "split"} <= set(found):
        lines.append(f"- Split against shared: {verdict(found['split'], found['shared'])}")
    return "\n".join(lines)


def _why_verdict(works: Sequence[Work], records: Records) -> str:
    found = _labelled(works, records, "why")
    kinds = dict.fromkeys(label.partition(", ")[2] for label in found)
    lines = [f"- Split against shared, {kind}: {verdict(found[f'split, {kind}'], found[f'shared, {kind}'])}"
             for kind in kinds if {f"split, {kind}", f"shared, {kind}"} <= set(found)]
    usual = _labelled(works, records, "sites")
    lines += [f"- Searched across against {says}: {verdict(found['searched across'], usual[other])}"
              for other, says in (("shared", "everything shared"), ("searched", "searched as usual"))
              if "searched across" in found and other in usual]
    return "\n".join(lines)


def _c3mmd(works: Sequence[Work], records: Records) -> str:
    found = rows(works, records, "c3mmd")
    plain = next((row for row in rows(works, records, "sites", seeds=(0,)) if row.label == "searched"), None)
    if not found or plain is None:
        return ""
    head = ["searched with, trained with", "I->V rank-1", "I->V mAP", "against neither", "MMD, share", "similarity"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in (plain._replace(label="search 0, base (neither)"), *found):
        before, after = (row.records[0]["apart"][when] for when in ("before", "after"))
        lines.append(_line([
            row.label, row.cell(ASKED, "rank1"), row.cell(ASKED, "mean_ap"),
            "" if row.records == plain.records else difference(row, plain).text,
            " -> ".join(f"{apart['class_mmd'] / apart['between']:.2f}" for apart in (before, after)),
            " -> ".join(f"{apart['similarity']:.3f}" for apart in (before, after))]))
    return "\n".join(lines)


def _near_the_best(works: Sequence[Work], records: Records) -> str:
    from scipy.stats import kendalltau  # noqa: PLC0415 - only here

    found = {row.label: row.mean(ASKED, "mean_ap") for row in rows(works, records, "near the best")}
    search = records.get("search of five groups")
    if len(found) < 2 ** len(GROUPS) or search is None:
        return ""
    order = sorted(found, key=lambda code: -found[code])
    chosen = search["code"]
    tau, p = kendalltau([search["scores"][code] for code in found], list(found.values()))
    steps = next(work.steps for work in works if work.question == "near the best" and isinstance(work, Fit))
    return (f"Five groups ({', '.join(GROUPS)}) make 32 architectures; each was trained for {steps} steps. The search "
            f"over the same five chose {chosen} (1 is split), which is number {order.index(chosen) + 1} of 32 with "
            f"{found[chosen]:.1f} mAP; the best is {order[0]} with {found[order[0]]:.1f}, the worst {order[-1]} with "
            f"{found[order[-1]]:.1f}. Kendall's tau between an architecture's score inside the supernet and its score "
            f"after training of its own is {tau:.2f} (p = {p:.2g}).")


def _stability(works: Sequence[Work], records: Records) -> str:  # noqa: ARG001
    chosen = {name: records[name] for name in SEARCHES if name in records}
    if len(chosen) < 2:
        return ""
    every = list(next(iter(chosen.values()))["probabilities"])
    splits = {name: np.isin(every, row["split"]) for name, row in chosen.items()}
    pairs = [(splits[a], splits[b]) for a in splits for b in splits if a < b]
    agree = float(np.mean([(a == b).mean() for a, b in pairs]))
    chance = float(np.mean([a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()) for a, b in pairs]))
    shares = ", ".join(f"{100 * split.mean():.0f} %" for split in splits.values())
    return (f"Two seeds of the search agree on {100 * agree:.0f} % of the 80 sites. They split {shares} of them; coins "
            f"with these shares would agree on {100 * chance:.0f} %.")


def _omni_scale(works: Sequence[Work], records: Records) -> str:
    found = _labelled(works, records, "omni-scale")
    if "released" not in found:
        return ""
    head = ["block", "parameters", "MACs", "V->V mAP", "I->V rank-1", "I->V mAP", "against released"]
    lines = [_line(head), _line(["---"] * len(head))]
    for label, row in found.items():
        size = size_of(row.archs[0], HEIGHT, WIDTH)
        lines.append(_line([
            label, f"{size.parameters:,}", f"{size.macs / 1e6:.1f} M", row.cell("visible-visible", "mean_ap"),
            row.cell(ASKED, "rank1"), row.cell(ASKED, "mean_ap"),
            "" if label == "released" else difference(row, found["released"]).text]))
    return "\n".join(lines)


def _hard(works: Sequence[Work], records: Records) -> str:
    found = [row for row in rows(works, records, "sites") if row.label in ("shared", "split", "searched")]
    if not found:
        return ""
    names = list(found[0].records[0]["slices"])
    lines = [_line(["network", *names]), _line(["---"] * (len(names) + 1))]
    lines += [_line([row.label, *(f"{np.mean([one['slices'][name]['rank1'] for one in row.records]):.1f}"
                                  for name in names)]) for row in found]
    return "\n".join(lines)


def _sizes(works: Sequence[Work], records: Records) -> str:
    found, whole = rows(works, records, "sizes"), _labelled(works, records, "sites").get("split")
    if not found or whole is None:
        return ""
    head = ["people", "I->V mAP", "met", "gap"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in (*found, whole._replace(label=f"{whole.records[0]['people']}")):
        met = float(np.mean([one["met"][ASKED]["mean_ap"] for one in row.records]))
        unmet = row.mean(ASKED, "mean_ap")
        lines.append(_line([row.label, f"{unmet:.1f}", f"{met:.1f}", f"{met - unmet:.1f}"]))
    return "\n".join(lines)


def _cost(works: Sequence[Work], records: Records) -> str:
    # Rows made before processor time was kept have only the wall's, which says what else the machine did.
    alike = {work: records[work.name]["training_cpu_s"] for work in works if work.steps == STEPS and work.start
             and "training_cpu_s" in (records.get(work.name) or {})}
    searches = [seconds for work, seconds in alike.items() if isinstance(work, Search) and work.level == "site"]
    fits = [seconds for work, seconds in alike.items() if isinstance(work, Fit) and work.scheme == "split"]
    if not searches or not fits:
        return ""
    search, fit = float(np.mean(searches)), float(np.mean(fits))
    return (f"{STEPS} steps of the weights, with those of the architecture between them, take {search:.0f} s of one "
            f"core (mean of {len(searches)}): {search / fit:.2f} times the {fit:.0f} s of one training of as many "
            f"steps, all norms split (mean of {len(fits)}).")


def _missing(works: Sequence[Work], records: Records) -> str:
    left = [work.name for work in works if work.name not in records]
    searches = sum(isinstance(work, Search) for work in works if work.name in left)
    return f"{len(left)} runs, {searches} of them searches: {', '.join(left)}." if left else ""


_SLOTS: dict[str, Slot] = {
    "made": _made, "setting": _setting, "start": _start,
    "sites": _table_of("sites", "shared"), "sites_verdict": _sites_verdict,
    "control": _table_of("control", "shared"), "control_verdict": _control_verdict,
    "why": _table_of("why"), "why_verdict": _why_verdict,
    "stress": _table_of("stress", "shared"), "stress_apart": _stress_apart, "stress_verdict": _stress_verdict,
    "c3mmd": _c3mmd, "near_the_best": _near_the_best, "stability": _stability, "transfer": _table_of("transfer"),
    "omni_scale": _omni_scale, "hard": _hard, "sizes": _sizes, "cost": _cost, "missing": _missing}
