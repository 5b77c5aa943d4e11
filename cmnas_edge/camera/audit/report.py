"""What an audit found, as a table for people and as one document for machines."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

__all__ = ["Finding", "Report", "Row", "table"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One destination.

    Attributes:
        destination: Address, and port where there is one.
        what: It is.
        capture_bytes: Sent there, in the recording: of TCP and UDP what they carry, of the rest whole frames.
        log_bytes: Written there, in the sent log; None where none is kept.
        unexplained_bytes: Of either, what nothing explains.
    """

    destination: str
    what: str
    capture_bytes: int
    log_bytes: int | None
    unexplained_bytes: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not accounted for.

    Attributes:
        where: Connection or destination.
        found: In words.
        unexplained_bytes: How many; 0 where it is no question of bytes.
    """

    where: str
    found: str
    unexplained_bytes: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        device: Name in its settings.
        addresses: Its own.
        is_accounted_for: Whether there is no finding.
        embedding_bytes: In the log: fields of sightings.
        header_bytes: In the log: what carries them.
        unexplained_bytes: In the log: the rest.
        rows: By destination.
        findings: What is not accounted for.
        notes: What limits what this proves.
    """

    device: str
    addresses: list[str]
    is_accounted_for: bool
    embedding_bytes: int
    header_bytes: int
    unexplained_bytes: int
    rows: list[Row]
    findings: list[Finding]
    notes: list[str]


def table(report: Report) -> str:
    """Lay it out for a terminal."""
    heads = ("destination", "what it is", "in the capture", "in the log", "unexplained")
    cells = [heads, *((row.destination, row.what, f"{row.capture_bytes:,}",
                       "-" if row.log_bytes is None else f"{row.log_bytes:,}", f"{row.unexplained_bytes:,}")
                      for row in report.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) if column < 2 else cell.rjust(width)
                       for column, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in cells]
    return "\n".join([*lines, "", *_words(report)]) + "\n"


def _words(report: Report) -> Iterator[str]:
    yield (f"the log: {report.embedding_bytes:,} bytes of sightings, {report.header_bytes:,} that carry them, "
           f"{report.unexplained_bytes:,} unexplained")
    for note in report.notes:
        yield f"note: {note}"
    for finding in report.findings:
        yield f"FINDING {finding.where}: {finding.found}"
    if report.is_accounted_for:
        yield f"everything that left {' and '.join(report.addresses)} is accounted for"
