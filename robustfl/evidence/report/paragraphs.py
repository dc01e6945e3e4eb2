"""The paragraph of each group, computed from the records: what the slides say, what ours show.

Nothing here is decided in advance: a sign, a count or a "closer" in a sentence is read off the
numbers. A group names its paragraph by `text:` in experiments.yaml; a sentence about rows that the
group does not have is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from robustfl.evidence.report.wording import (
    beside_slides,
    contrast,
    join_with_and,
    mean,
    points,
    with_sign,
)
from robustfl.evidence.tables import (
    GREEDY_VARIANTS,
    StudyRecords,
    display_label,
    row_of,
    row_under,
    values,
)
from robustfl.study.experiments import Group, Row


def paragraph(gathered: StudyRecords, group: Group) -> str:
    """The paragraph of a group."""
    return " ".join([*PARAGRAPHS[group.text](gathered, group), *_mixed(gathered, group)])


def _mixed(gathered: StudyRecords, group: Group) -> list[str]:
    """What a table puts side by side though its runs differ in it: precision, test images."""
    records = [r for row in group.rows for r in gathered.runs_of(row)]
    precisions = Counter(r.precision for r in records)
    sizes = Counter(r.metrics["provenance"]["test_points"] for r in records)

    # a table of one kind needs no such sentence
    sentences = []
    if len(precisions) > 1:
        parts = join_with_and([f"{count} in {name}" for name, count in sorted(precisions.items())])
        sentences.append(
            f"These runs were not all trained in one precision ({parts}): part of a difference "
            "may be rounding."
        )
    if len(sizes) > 1:
        parts = join_with_and([f"{count} on {size:,}" for size, count in sorted(sizes.items())])
        sentences.append(f"They were not all tested on as many images ({parts}).")
    return sentences


# what several paragraphs need


def _slide_accuracies(gathered: StudyRecords, group: Group) -> dict[str, float]:
    """The slides' best accuracies of a group by row label, %."""
    numbers = gathered.slides.get(group.key, {})
    return {label: row["best"] for label, row in numbers.items() if "best" in row}


def _rows_by_rule(group: Group) -> dict[str, list[Row]]:
    """The rows of each greedy rule by the rule's name, for the rules that the group has rows of."""
    rows = {
        rule: [row for row in group.rows if row.method == method]
        for method, rule in GREEDY_VARIANTS.items()
    }
    return {rule: of_rule for rule, of_rule in rows.items() if of_rule}


def _pairs(group: Group, high: str, low: str) -> list[tuple[Row, Row]]:
    """Rows (high, low) for every rule either of them is run under."""
    pairs: list[tuple[Row, Row]] = []
    # a row that both rules share makes the same pair twice
    for method in GREEDY_VARIANTS:
        a, b = row_under(group, high, method), row_under(group, low, method)
        if a is not None and b is not None and (a, b) not in pairs:
            pairs.append((a, b))
    return pairs


def _against_slides(
    gathered: StudyRecords, group: Group, high: str, low: str, published: float
) -> list[str]:
    """One sentence per rule on high - low."""
    sentences = []
    for a, b in _pairs(group, high, low):
        e = contrast(gathered, a, b)
        sentences.append(
            f"Here {display_label(a)} minus {display_label(b)} is {points(e)}: "
            f"{beside_slides(e, published)}."
        )
    return sentences


# label noise


def _noise(gathered: StudyRecords, group: Group) -> list[str]:
    return [
        *_noise_beside_slides(gathered, group),
        *_noise_beside_random(gathered, group),
        *_label_quality(gathered, group),
        *_more_noise(gathered, group),
    ]


def _noise_beside_slides(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _slide_accuracies(gathered, group)
    if not {"full", "FL weighted"} <= set(slides):
        return []
    ranked = sorted(slides.items(), key=lambda item: -item[1])
    gain = slides["FL weighted"] - slides["full"]
    sentences = [
        f"The slides report {join_with_and([f'{k} {v:.2f}' for k, v in ranked])} %, FL weighted "
        f"{with_sign(gain)} points from full.",
        *_against_slides(gathered, group, "FL weighted", "full", gain),
    ]
    if "weighted only" in slides:
        gain = slides["weighted only"] - slides["full"]
        sentences += _against_slides(gathered, group, "weighted only", "full", gain)
    return sentences


def _noise_beside_random(gathered: StudyRecords, group: Group) -> list[str]:
    random = row_of(group, "random")
    full = row_of(group, "full")
    if full is None:
        return []
    sentences = []
    if random is not None:
        sentences.append(
            f"The random subset of the same size is {points(contrast(gathered, random, full))} "
            "from full."
        )
        sentences += _beside_random(gathered, group, random)
    drop = mean(gathered, full) - mean(gathered, full, "last_top1")
    return [
        *sentences,
        f"Full training loses {drop:.2f} points between its best and its last epoch.",
    ]


def _beside_random(gathered: StudyRecords, group: Group, random: Row) -> list[str]:
    """Which FL rows are above or below the random subset by more than their interval."""
    sides: dict[str, list[str]] = {"above": [], "below": []}
    for row in group.rows:
        if row.method not in GREEDY_VARIANTS:
            continue
        e = contrast(gathered, row, random)
        if e.low is not None and e.high is not None:
            if e.low > 0:
                sides["above"].append(display_label(row))
            elif e.high < 0:
                sides["below"].append(display_label(row))
    parts = [f"{join_with_and(rows)} {side} it" for side, rows in sides.items() if rows]
    if not parts:
        return ["No FL row is decidedly on either side of it."]
    return [f"Decided are {join_with_and(parts)}."]


def _label_quality(gathered: StudyRecords, group: Group) -> list[str]:
    full = row_of(group, "full")
    rows = [row for row in group.rows if row.method in GREEDY_VARIANTS]
    if not rows or full is None:
        return []
    clean = mean(gathered, full, "label_precision")
    shares = join_with_and(
        [f"{100 * mean(gathered, r, 'label_precision'):.0f} % for {display_label(r)}" for r in rows]
    )
    return [
        f"Of the last selection {shares} carry a true label, against {100 * clean:.0f} % of all "
        "points."
    ]


def _more_noise(gathered: StudyRecords, group: Group) -> list[str]:
    """FashionMNIST: the slides' accuracy grows with the noise; whether ours does."""
    low = gathered.study.groups.get("noise_0.2_fashion_mnist")
    high = gathered.study.groups.get("noise_0.4_fashion_mnist")
    if low is None or high is None or group.key not in (low.key, high.key):
        return []
    full_low = row_of(low, "full")
    full_high = row_of(high, "full")
    if full_low is None or full_high is None:
        return []

    a, b = _slide_accuracies(gathered, low), _slide_accuracies(gathered, high)
    e = contrast(gathered, full_high, full_low)
    if e.low is not None and e.high is not None and e.low <= 0 <= e.high:
        follows = "within seed noise: these runs cannot tell"
    elif e.mean > 0:
        follows = "so these runs show it too: the noise needs a look before that is believed"
    else:
        follows = "so these runs show the opposite"
    return [
        f"The slides' accuracy at noise 0.4 (full {b['full']:.2f}, FL weighted "
        f"{b['FL weighted']:.2f} %) is above theirs at noise 0.2 ({a['full']:.2f}, "
        f"{a['FL weighted']:.2f} %). That is implausible: more wrong labels do not make the same "
        "training better.",
        f"Here full training at 0.4 minus 0.2 is {points(e)}, {follows}.",
    ]


def _radius(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _slide_accuracies(gathered, group)
    sentences = []
    if slides:
        top = max(slides, key=lambda label: slides[label])
        report = join_with_and([f"{v:.2f} % at {k}" for k, v in slides.items()])
        sentences.append(f"The slides report {report}: {top} is best of these.")
        for other in slides:
            if other != top:
                gain = slides[top] - slides[other]
                sentences += _against_slides(gathered, group, top, other, gain)
    # the slides compare a few radii; ours are more, in two units
    best = max(group.rows, key=lambda row: mean(gathered, row))
    return [
        *sentences,
        f"Over all radii in both units the best mean here is {best.label} "
        f"({mean(gathered, best):.2f} %).",
    ]


def _flr(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _slide_accuracies(gathered, group)
    sentences = []
    if len(slides) > 1:
        first, *_, last = slides
        sentences.append(
            f"The slides' accuracy changes from {slides[first]:.2f} % at {first} to "
            f"{slides[last]:.2f} % at {last}: smaller subsets do better under noise."
        )
        gain = slides[first] - slides[last]
        sentences += _against_slides(gathered, group, first, last, gain)
    for rule, rows in _rows_by_rule(group).items():
        clean = join_with_and(
            [f"{100 * mean(gathered, r, 'label_precision'):.0f} % ({r.label})" for r in rows]
        )
        sentences.append(f"Picks of the {rule} rule carry a true label in {clean}.")
    return sentences


# facility ratio without noise


def _ratio(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _slide_accuracies(gathered, group)
    sentences = []
    if {"80%", "100%"} <= set(slides):
        cost = slides["80%"] - slides["100%"]
        sentences.append(
            f"The slides' accuracy grows with the ratio, from {min(slides.values()):.2f} to "
            f"{max(slides.values()):.2f} %; at 80 % of the points it is {with_sign(cost)} points "
            "from all of them."
        )
        sentences += _against_slides(gathered, group, "80%", "100%", cost)
    for rule, rows in _rows_by_rule(group).items():
        if len(rows) < 2:
            continue
        means = [mean(gathered, row) for row in rows]
        rises = sum(b > a for a, b in zip(means, means[1:]))
        sentences.append(
            f"With the {rule} rule {rises} of {len(means) - 1} steps to a larger ratio raise "
            "accuracy."
        )
    return sentences + _coverage(gathered, group) + _random(gathered, group)


def _coverage(gathered: StudyRecords, group: Group) -> list[str]:
    off = {}  # rule -> mean distance from the slides' data covered, points
    for rule, rows in _rows_by_rule(group).items():
        gaps = [
            abs(mean(gathered, row, "covered") - published["covered"])
            for row in rows
            if "covered" in (published := gathered.slide_numbers(group, row))
        ]
        if gaps:
            off[rule] = 100 * sum(gaps) / len(gaps)
    if len(off) < 2:
        return []

    # two rules, two distances: the nearer one is named first
    near, far = sorted(off, key=lambda rule: off[rule])
    return [
        f"Data covered differs from the slides' by {off[near]:.1f} points on average with the "
        f"{near} rule and {off[far]:.1f} with the {far} rule."
    ]


def _random(gathered: StudyRecords, group: Group) -> list[str]:
    """At how many ratios each rule is decidedly above or below the random subset."""
    counts = []
    for method, rule in GREEDY_VARIANTS.items():
        estimates = [
            contrast(gathered, greedy, random)
            for random in group.rows
            if random.method == "random"
            and (greedy := row_of(group, random.label, method)) is not None
        ]
        decided = [e for e in estimates if e.low is not None and e.high is not None]
        if decided:
            above = sum(e.low > 0 for e in decided if e.low is not None)
            below = sum(e.high < 0 for e in decided if e.high is not None)
            counts.append(f"the {rule} rule is above it at {above} and below it at {below}")
    if not counts:
        return []
    return [
        f"Against a random subset of the same size, {join_with_and(counts)} of the ratios, each "
        "by its 95 % interval."
    ]


# the rest of the slides


def _ablations(gathered: StudyRecords, group: Group) -> list[str]:
    slides = {
        label: numbers["best_difference"]
        for label, numbers in gathered.slides.get(group.key, {}).items()
        if "best_difference" in numbers
    }
    if not slides:
        return []
    first = group.rows[0].label
    report = join_with_and([f"{with_sign(v, 1)} for {k}" for k, v in slides.items()])
    sentences = [f"The slides report {report}, in points from {first}."]

    for method, rule in GREEDY_VARIANTS.items():
        reference = row_of(group, first, method)
        if reference is None:
            continue
        changes = {
            label: contrast(gathered, row, reference).mean
            for label in slides
            if (row := row_of(group, label, method)) is not None
        }
        if not changes:
            continue
        same = sum((v < 0) == (slides[k] < 0) and v != 0 for k, v in changes.items())
        parts = join_with_and([f"{k} {with_sign(v)}" for k, v in changes.items()])
        sentences.append(
            f"With the {rule} rule: {parts}; {same} of {len(changes)} have the slides' sign."
        )
    return sentences


def _set_cover(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _slide_accuracies(gathered, group)
    sentences = []
    for gradient, feature in (
        ("gradient, 43334", "feature, 43105"),
        ("gradient, 39715", "feature, 38964"),
    ):
        if {gradient, feature} <= set(slides) and _pairs(group, gradient, feature):
            gain = slides[gradient] - slides[feature]
            sentences.append(
                f"The slides put {gradient} clusters {with_sign(gain)} points from {feature}."
            )
            sentences += _against_slides(gathered, group, gradient, feature, gain)
    full = next((row for row in group.rows if row.method == "full"), None)
    if full is not None:
        sentences.append(
            "The pretraining run on all points, which every cover needs first, reaches "
            f"{mean(gathered, full):.2f} %."
        )
    return sentences


def _analysis(gathered: StudyRecords, group: Group) -> list[str]:
    sentences = [
        "The slides call FL better in training and less helpful on the test set, by curves without "
        "numbers."
    ]
    full = row_of(group, "full")
    if full is None:
        return sentences

    # of the whole training set: points trained on are not the same ones for every row
    whole = values([r for row in group.rows for r in gathered.runs_of(row)], "fit")
    for row in group.rows:
        if row is full:
            continue
        sentence = (
            f"On the test set the best epoch of {display_label(row)} is "
            f"{points(contrast(gathered, row, full))} from full"
        )
        if whole is not None:
            fitted = mean(gathered, row, "fit") - mean(gathered, full, "fit")
            sentence += f", and it ends {with_sign(fitted)} points from it on the training set"
        sentences.append(sentence + ".")
    return sentences


def _interval(gathered: StudyRecords, group: Group) -> list[str]:
    """Data covered against how often is selected; the slides have one share for all of it."""
    sentences = []
    for rule, rows in _rows_by_rule(group).items():
        share = {row: 100 * mean(gathered, row, "covered") for row in rows}
        shares = join_with_and([f"{v:.0f} % ({row.label})" for row, v in share.items()])
        sentence = f"The {rule} rule has covered {shares} of the data at the end"
        published = gathered.slide_numbers(group, rows[0]).get("covered")
        if published is not None:
            near = min(rows, key=lambda row: abs(share[row] - 100 * published))
            sentence += f"; the slides' {100 * published:.0f} % is nearest to {near.label}"
        sentences.append(sentence + ".")

    # the two ends of the group's rows, under one rule
    first = group.rows[0]
    last = [row for row in group.rows if row.method == first.method][-1]
    return [
        *sentences,
        f"In best accuracy {display_label(last)} is {points(contrast(gathered, last, first))} "
        f"from {display_label(first)}.",
    ]


def _other(gathered: StudyRecords, group: Group) -> list[str]:
    """A group the slides do not have: every row against full training, or the group's first row."""
    first = row_of(group, "full") or group.rows[0]
    ranked = sorted((r for r in group.rows if r is not first), key=lambda r: -mean(gathered, r))
    sentences = [
        f"The slides have no number for this group; {display_label(first)} reaches "
        f"{mean(gathered, first):.2f} %."
    ]
    if ranked:
        parts = join_with_and(
            [f"{display_label(r)} {with_sign(contrast(gathered, r, first).mean)}" for r in ranked]
        )
        sentences.append(
            f"From it, in points of best accuracy: {parts}. The first of these is "
            f"{points(contrast(gathered, ranked[0], first))} from it."
        )
    return sentences


# `text:` of a group -> the sentences of its paragraph
PARAGRAPHS: dict[str, Callable[[StudyRecords, Group], list[str]]] = {
    "noise": _noise,
    "radius": _radius,
    "flr": _flr,
    "ratio": _ratio,
    "ablations": _ablations,
    "set_cover": _set_cover,
    "analysis": _analysis,
    "interval": _interval,
    "other": _other,
}
