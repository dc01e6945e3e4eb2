"""Each table of the slides in its own shape and order, with ours beside their numbers.

A group without numbers of the slides gets its rows beside a reference instead.
"""

from __future__ import annotations

from collections.abc import Callable

from robustfl.evidence.report.wording import BEST, contrast, interval, mean, with_sign
from robustfl.evidence.tables import (
    GREEDY_VARIANTS,
    StudyRecords,
    display_label,
    row_of,
    row_under,
    values,
)
from robustfl.study.experiments import Group, Row

Table = dict[str, list]  # columns: list of texts, rows: list of lists of texts
LAST = "last_top1"
# what the slides give of a row: their key, the key of our records, how both are written
NUMBERS: dict[str, tuple[str, Callable[[float], str]]] = {
    "covered": ("covered", lambda v: f"{100 * v:.0f} %"),
    "best": (BEST, lambda v: f"{v:.2f}"),
    "best_top5": ("best_top5", lambda v: f"{v:.2f}"),
}
TITLES = {"covered": "Data covered", "best": "Acc@1", "best_top5": "Acc@5"}


def table(gathered: StudyRecords, group: Group) -> Table:
    """The group's table: the slides' own, or one of differences where they have none."""
    numbers = gathered.slides.get(group.key, {})
    labels = [label for label in numbers if any(row.label == label for row in group.rows)]
    if not labels:
        return beside_reference(gathered, group)
    if any("best_difference" in numbers[label] for label in labels):
        return changes(gathered, group, labels)
    return SHAPES.get(group.text, down)(gathered, group, labels)


# the shapes of the slides


def down(gathered: StudyRecords, group: Group, labels: list[str]) -> Table:
    """A method a line: the slides' best accuracy, ours under each rule, best and last epoch."""
    rules = _rules(group, labels)
    columns = ["Method", "Slides", *(f"Ours{name}" for name in rules.values())]
    columns += [f"Last{name}" for name in rules.values()]
    shown = [*labels, *(row.label for row in group.rows if row.method == "random")]
    rows = []
    for label in dict.fromkeys(shown):
        under = [_under(group, label, rule) for rule in rules]
        published = gathered.slides.get(group.key, {}).get(label, {}).get("best")
        cells = [label, "" if published is None else f"{published:.2f}"]
        for key in (BEST, LAST):
            cells += [_spread(gathered, row, key) for row in _once(under)]
        rows.append(cells)
    return {"columns": columns, "rows": rows}


def across(gathered: StudyRecords, group: Group, labels: list[str]) -> Table:
    """A facility ratio a column; the slides' line, then ours under each rule and a random one."""
    columns = ["Facility ratio", "", *labels]
    rows = []
    for key in ("covered", "best"):
        name, form = NUMBERS[key]
        published = [gathered.slides[group.key][label].get(key) for label in labels]
        title = TITLES[key]
        rows.append([title, "slides", *("" if v is None else form(v) for v in published)])
        for method, rule in {**GREEDY_VARIANTS, "random": "random"}.items():
            found = [row_of(group, label, method) for label in labels]
            if any(found):
                cells = [_value(gathered, row, name, form) for row in found]
                rows.append(["", rule, *cells])
    return {"columns": columns, "rows": rows}


def set_cover(gathered: StudyRecords, group: Group, labels: list[str]) -> Table:
    """A space a line, as the slides: many clusters and, in brackets, fewer."""
    spaces: dict[str, list[str]] = {}
    for label in labels:
        spaces.setdefault(label.split(",")[0], []).append(label)
    rows = []
    for space, of_space in spaces.items():
        counts = [label.split(", ")[1] for label in of_space]
        for whose in ("slides", "ours"):
            cells = [space.capitalize() if whose == "slides" else "", whose]
            cells.append(_bracketed(counts) if whose == "slides" else "")
            for key in ("best", "best_top5"):
                texts = [_set_cover_cell(gathered, group, x, key, whose) for x in of_space]
                cells.append(_bracketed([text for text in texts if text]))
            rows.append(cells)
    return {"columns": ["", "", "# clusters", "Acc@1", "Acc@5"], "rows": rows}


def _set_cover_cell(gathered: StudyRecords, group: Group, label: str, key: str, whose: str) -> str:
    name, form = NUMBERS[key]
    if whose == "slides":
        published = gathered.slides[group.key][label].get(key)
        return "" if published is None else form(published)
    return _value(gathered, row_of(group, label), name, form)


def changes(gathered: StudyRecords, group: Group, labels: list[str]) -> Table:
    """Changes from the group's first row, points: the slides', and ours under each rule."""
    first = group.rows[0].label
    rules = _rules(group, labels)
    columns = [f"Change from {first}", "Slides", *(f"Ours{name}" for name in rules.values())]
    rows = []
    for label in labels:
        published = gathered.slides[group.key][label]["best_difference"]
        cells = [label, with_sign(published, 1)]
        for rule in rules:
            row, reference = _under(group, label, rule), _under(group, first, rule)
            cells.append(_difference(gathered, row, reference))
        rows.append(cells)
    return {"columns": columns, "rows": rows}


def beside_reference(gathered: StudyRecords, group: Group) -> Table:
    """Rows that the slides do not have: best, last, and the difference from a reference.

    The reference is full training, else the group's first row.
    """
    reference = row_of(group, "full") or group.rows[0]
    name = display_label(reference)
    rows = [
        [
            display_label(row),
            _spread(gathered, row, BEST),
            _spread(gathered, row, LAST),
            "" if row is reference else _difference(gathered, row, reference),
        ]
        for row in group.rows
        if gathered.runs_of(row)
    ]
    return {"columns": ["Row", "Best", "Last", f"Best, minus {name}"], "rows": rows}


# `text:` of a group -> the shape of its slide; any other is one method a line
SHAPES: dict[str, Callable[[StudyRecords, Group, list[str]], Table]] = {
    "ratio": across,
    "set_cover": set_cover,
}


# cells


def _rules(group: Group, labels: list[str]) -> dict[str, str]:
    """The rules that the labels' rows are run under, with what a column adds to its name."""
    ruled = any(row.method in GREEDY_VARIANTS for row in group.rows if row.label in labels)
    if not ruled:
        return {next(iter(GREEDY_VARIANTS)): ""}
    return {method: f", {name}" for method, name in GREEDY_VARIANTS.items()}


def _under(group: Group, label: str, rule: str) -> Row | None:
    return row_under(group, label, rule)


def _once(rows: list[Row | None]) -> list[Row | None]:
    """A row that all rules share stands in the first column alone."""
    return [None if i and row == rows[0] else row for i, row in enumerate(rows)]


def _spread(gathered: StudyRecords, row: Row | None, key: str) -> str:
    """Mean over seeds with the sample standard deviation, `35.51 ±1.39`; empty without a run."""
    numbers = None if row is None else values(gathered.runs_of(row), key)
    if not numbers:
        return ""
    average = sum(numbers) / len(numbers)
    if len(numbers) == 1:
        return f"{average:.2f}"
    variance = sum((n - average) ** 2 for n in numbers) / (len(numbers) - 1)
    return f"{average:.2f} ±{variance**0.5:.2f}"


def _value(gathered: StudyRecords, row: Row | None, key: str, form: Callable[[float], str]) -> str:
    if row is None or not gathered.runs_of(row):
        return ""
    return form(mean(gathered, row, key))


def _difference(gathered: StudyRecords, row: Row | None, reference: Row | None) -> str:
    """Paired difference of best accuracy with its 95 % interval."""
    if row is None or reference is None or not gathered.paired(row, reference):
        return ""
    return interval(contrast(gathered, row, reference))


def _bracketed(texts: list[str]) -> str:
    """`a (b)`, as the slides write two numbers."""
    if not texts:
        return ""
    return texts[0] if len(texts) == 1 else f"{texts[0]} ({', '.join(texts[1:])})"
