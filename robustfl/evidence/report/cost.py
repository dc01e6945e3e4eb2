"""What each method costs beside full training, in passes and seconds.

The paragraph says what the selection itself takes of them.
"""

from __future__ import annotations

from robustfl.evidence.figures.style import approach
from robustfl.evidence.report.wording import join_with_and
from robustfl.evidence.tables import (
    GREEDY_VARIANTS,
    StudyRecords,
    display_label,
    full_cost,
    mean,
    values,
)
from robustfl.study.experiments import Row
from robustfl.study.record import Record


def table(gathered: StudyRecords) -> dict:
    """One line per row of each group that says `cost: true`.

    It has passes in per cent of full training's, seconds, their ratio to full training where it
    ran, and energy where the device reports it.
    """
    columns = [
        "Group",
        "Row",
        "Forward, %",
        "Backward, %",
        "Select, s",
        "Train, s",
        "Both, s",
        "Of full",
        "Energy, kJ",
    ]
    rows = []
    for group in gathered.study.groups.values():
        if group.cost:
            rows += [[group.title, *line(gathered, row)] for row in group.rows]
    if not reports_energy(gathered):
        columns = columns[:-1]
        rows = [row[:-1] for row in rows]
    return {"columns": columns, "rows": _once(rows)}


def reports_energy(gathered: StudyRecords) -> bool:
    """Whether a device of these runs reports energy."""
    return any(r.metrics["energy"] is not None for r in gathered.records.values())


def line(gathered: StudyRecords, row: Row) -> list[str]:
    """The cells of one row."""
    records = gathered.runs_of(row)
    whole = [full_cost(r.spec, r) for r in records]
    forward = 100 * sum(r.metrics["forwards"] for r in records) / sum(whole)
    backward = 100 * sum(r.metrics["backwards"] for r in records) / sum(whole)
    select, train = (mean_seconds(records, part) for part in ("select", "train"))
    share = of_full(gathered, row)
    energy = mean(values(records, "energy"))
    return [
        display_label(row),
        f"{forward:.0f}",
        f"{backward:.0f}",
        f"{select:,.1f}",
        f"{train:,.1f}",
        f"{select + train:,.1f}",
        "" if share is None else f"{share:.2f}×",
        "" if energy is None else f"{energy / 1000:,.2f}",
    ]


def mean_seconds(records: list[Record], *parts: str) -> float:
    """Seconds of the parts together, mean over the records."""
    return sum(r.metrics["seconds"][p] for r in records for p in parts) / len(records)


def of_full(gathered: StudyRecords, row: Row) -> float | None:
    """Seconds of selecting and training over those of the same run on the whole set.

    None where the study has none.
    """
    # runs of one `pretraining()` share data, noise, network and optimiser: all but the selection
    wanted = {r.spec.pretraining().hash for r in gathered.runs_of(row)}
    plain = [r for r in gathered.records.values() if approach(r.spec) == "full"]
    # a warm-up changes nothing of a run on the whole set
    full = [r for r in plain if r.spec.pretraining().hash in wanted]
    if not full:
        return None
    return mean_seconds(gathered.runs_of(row), "select", "train") / mean_seconds(
        full, "select", "train"
    )


def paragraph(gathered: StudyRecords) -> str:
    """At how many ratios a subset is cheaper than full training, selection included."""
    sentences = []
    for group in gathered.study.groups.values():
        if group.text != "ratio":
            continue
        rows = [row for row in group.rows if row.method in GREEDY_VARIANTS]
        shares = {row: s for row in rows if (s := of_full(gathered, row)) is not None}
        # without full training beside every row there would be a count of part of the ratios
        if not rows or len(shares) < len(rows):
            continue
        parts = []
        for method, rule in GREEDY_VARIANTS.items():
            of_rule = [row for row in rows if row.method == method]
            cheaper = [row.label for row in of_rule if shares[row] < 1]
            if of_rule:
                parts.append(
                    f"with the {rule} rule at {len(cheaper)} of {len(of_rule)} ratios"
                    + (f" ({join_with_and(cheaper)})" if cheaper else "")
                )
        sentences.append(
            f"{group.title}: selecting and training take less time than full training "
            f"{join_with_and(parts)}."
        )
    return " ".join(sentences)


def _once(rows: list[list[str]]) -> list[list[str]]:
    """The group's title on its first line only."""
    return [
        [row[0] if i == 0 or rows[i - 1][0] != row[0] else "", *row[1:]]
        for i, row in enumerate(rows)
    ]
