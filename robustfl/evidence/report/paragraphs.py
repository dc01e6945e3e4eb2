"""The paragraph of each group, computed from the records: what the slides say, what ours show.

Nothing here is decided in advance: a sign, a count or a "closer" in a sentence is read off the numbers.
"""

from __future__ import annotations

from collections import Counter

from robustfl.evidence import figures
from robustfl.evidence.report.wording import (
    beside_slides,
    contrast,
    join_with_and,
    mean,
    points,
    with_sign,
)
from robustfl.evidence.tables import GREEDY_VARIANTS, StudyRecords, display_label, row_of
from robustfl.study.experiments import Group, Row


def paragraph(gathered: StudyRecords, group: Group) -> str:
    """The paragraph of a group."""
    kind = figures.kind(group)
    if kind == "curves":
        kind = next(
            (k for k in ("radius", "ratio_", "noise", "interval") if group.key.startswith(k)),
            "other",
        )
    return " ".join([*PARAGRAPHS[kind](gathered, group), *_mixed(gathered, group)])


def _mixed(gathered: StudyRecords, group: Group) -> list[str]:
    """What the runs of a group do not have in common though a table puts them side by side: precision, test images."""
    records = [r for row in group.rows for r in gathered.runs_of(row)]
    precisions = Counter(r.precision for r in records)
    sizes = Counter(r.metrics["provenance"]["test_points"] for r in records)
    said = []
    if len(precisions) > 1:
        parts = join_with_and([f"{count} in {name}" for name, count in sorted(precisions.items())])
        said.append(
            f"These runs were not all trained in one precision ({parts}): part of a difference may be rounding."
        )
    if len(sizes) > 1:
        parts = join_with_and([f"{count} on {size:,}" for size, count in sorted(sizes.items())])
        said.append(f"They were not all tested on as many images ({parts}).")
    return said


def _numbers(gathered: StudyRecords, group: Group) -> dict[str, float]:
    return {
        label: n["best"] for label, n in gathered.slides.get(group.key, {}).items() if "best" in n
    }


def _pairs(gathered: StudyRecords, group: Group, high: str, low: str) -> list[tuple[Row, Row]]:
    """Rows (high, low) for every rule either of them is run under."""
    found = []
    for method in GREEDY_VARIANTS:
        a, b = row_of(group, high, method), row_of(group, low, method)
        if a is not None and b is not None and (a, b) not in found:
            found.append((a, b))
    return found


def _against_slides(
    gathered: StudyRecords, group: Group, high: str, low: str, published: float
) -> list[str]:
    """A sentence a rule on high - low."""
    said = []
    for a, b in _pairs(gathered, group, high, low):
        e = contrast(gathered, a, b)
        said.append(
            f"Here {display_label(a)} minus {display_label(b)} is {points(e)}: {beside_slides(e, published)}."
        )
    return said


def _noise(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _numbers(gathered, group)
    said = []
    if {"full", "FL weighted"} <= set(slides):
        ranked = sorted(slides.items(), key=lambda item: -item[1])
        gain = slides["FL weighted"] - slides["full"]
        said.append(
            f"The slides report {join_with_and([f'{k} {v:.2f}' for k, v in ranked])} %, FL weighted {with_sign(gain)} points "
            "from full."
        )
        said += _against_slides(gathered, group, "FL weighted", "full", gain)
        if "weighted only" in slides:
            said += _against_slides(
                gathered, group, "weighted only", "full", slides["weighted only"] - slides["full"]
            )
    random, full = row_of(group, "random"), row_of(group, "full")
    if random is not None and full is not None:
        better = [
            r
            for r in group.rows
            if r.method in GREEDY_VARIANTS and mean(gathered, r) > mean(gathered, random)
        ]
        beats = (
            f"{join_with_and([display_label(r) for r in better])} beat{'s' if len(better) == 1 else ''} it"
            if better
            else "no FL row beats it"
        )
        said.append(
            f"The random subset of the same size is {points(contrast(gathered, random, full))} from full; {beats}."
        )
    if full is not None:
        drop = mean(gathered, full) - mean(gathered, full, "last_top1")
        said.append(f"Full training loses {drop:.2f} points between its best and its last epoch.")
    said += _label_quality(gathered, group)
    return said + _more_noise(gathered, group)


def _label_quality(gathered: StudyRecords, group: Group) -> list[str]:
    full = row_of(group, "full")
    clean = None if full is None else mean(gathered, full, "label_precision")
    rows = [
        r
        for r in group.rows
        if r.method in GREEDY_VARIANTS and gathered.study.specs[r.names[0]].method != "full"
    ]
    if not rows or clean is None:
        return []
    shares = join_with_and(
        [f"{100 * mean(gathered, r, 'label_precision'):.0f} % for {display_label(r)}" for r in rows]
    )
    return [
        f"Of the last selection {shares} carry a true label, against {100 * clean:.0f} % of all points."
    ]


def _more_noise(gathered: StudyRecords, group: Group) -> list[str]:
    """FashionMNIST: the slides' accuracy grows with the noise; say that it should not, and whether ours does."""
    low, high = (
        gathered.study.groups.get(f"noise_{rate}_fashion_mnist") for rate in ("0.2", "0.4")
    )
    if low is None or high is None or group.key not in (low.key, high.key):
        return []
    a, b = _numbers(gathered, low), _numbers(gathered, high)
    said = [
        f"The slides' accuracy at noise 0.4 (full {b['full']:.2f}, FL weighted {b['FL weighted']:.2f} %) is above "
        f"theirs at noise 0.2 ({a['full']:.2f}, {a['FL weighted']:.2f} %). That is implausible: more wrong labels do "
        "not make the same training better."
    ]
    e = contrast(gathered, row_of(high, "full"), row_of(low, "full"))
    if e.low is not None and e.low <= 0 <= e.high:
        follows = "within seed noise: these runs cannot tell"
    elif e.mean > 0:
        follows = (
            "so these runs show it too, which asks for a look at the noise before it is believed"
        )
    else:
        follows = "so it does not follow from our runs"
    return [*said, f"Here full training at 0.4 minus 0.2 is {points(e)}, {follows}."]


def _radius(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _numbers(gathered, group)
    said = []
    if slides:
        top = max(slides, key=slides.get)
        said.append(
            f"The slides report {join_with_and([f'{v:.2f} % at {k}' for k, v in slides.items()])}: {top} is best of these."
        )
        for other in slides:
            if other != top:
                said += _against_slides(gathered, group, top, other, slides[top] - slides[other])
    best = max(group.rows, key=lambda r: mean(gathered, r))
    return [
        *said,
        f"Over all radii in both units the best mean here is {best.label} ({mean(gathered, best):.2f} %).",
    ]


def _flr(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _numbers(gathered, group)
    said = []
    if len(slides) > 1:
        first, *_, last = slides
        said.append(
            f"The slides' accuracy changes from {slides[first]:.2f} % at {first} to {slides[last]:.2f} % at {last}: "
            "smaller subsets do better under noise."
        )
        said += _against_slides(gathered, group, first, last, slides[first] - slides[last])
    return said + _rule_precision(gathered, group)


def _rule_precision(gathered: StudyRecords, group: Group) -> list[str]:
    said = []
    for method, rule in GREEDY_VARIANTS.items():
        rows = [r for r in group.rows if r.method == method]
        if rows:
            clean = join_with_and(
                [f"{100 * mean(gathered, r, 'label_precision'):.0f} % ({r.label})" for r in rows]
            )
            said.append(f"Picks of the {rule} rule carry a true label in {clean}.")
    return said


def _ratio(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _numbers(gathered, group)
    said = []
    if {"80%", "100%"} <= set(slides):
        cost = slides["80%"] - slides["100%"]
        said.append(
            f"The slides' accuracy grows with the ratio, from {min(slides.values()):.2f} to "
            f"{max(slides.values()):.2f} %; at 80 % of the points it is {with_sign(cost)} points from all of them."
        )
        said += _against_slides(gathered, group, "80%", "100%", cost)
    for method, rule in GREEDY_VARIANTS.items():
        rows = [r for r in group.rows if r.method == method]
        means = [mean(gathered, r) for r in rows]
        rises = sum(b > a for a, b in zip(means, means[1:]))
        said.append(
            f"With the {rule} rule {rises} of {len(means) - 1} steps to a larger ratio raise accuracy."
        )
    return said + _coverage(gathered, group) + _random(gathered, group)


def _coverage(gathered: StudyRecords, group: Group) -> list[str]:
    away = {}
    for method, rule in GREEDY_VARIANTS.items():
        rows = [
            r
            for r in group.rows
            if r.method == method and "covered" in gathered.slide_numbers(group, r)
        ]
        gaps = [
            abs(mean(gathered, r, "covered") - gathered.slide_numbers(group, r)["covered"])
            for r in rows
        ]
        if gaps:
            away[rule] = 100 * sum(gaps) / len(gaps)
    if len(away) < 2:
        return []
    near, far = sorted(away, key=away.get)
    return [
        f"Data covered differs from the slides' by {away[near]:.1f} points on average with the {near} rule and "
        f"{away[far]:.1f} with the {far} rule."
    ]


def _random(gathered: StudyRecords, group: Group) -> list[str]:
    rows = [r for r in group.rows if r.method == "random"]
    said = []
    for method, rule in GREEDY_VARIANTS.items():
        wins = sum(
            mean(gathered, r) >= mean(gathered, row_of(group, r.label, method)) for r in rows
        )
        said.append(f"the {rule} rule at {wins} of {len(rows)} ratios")
    return (
        [f"A random subset does as well as or better than {join_with_and(said)}."] if rows else []
    )


def _ablations(gathered: StudyRecords, group: Group) -> list[str]:
    slides = {
        k: n["best_difference"]
        for k, n in gathered.slides.get(group.key, {}).items()
        if "best_difference" in n
    }
    if not slides:
        return []
    first = group.rows[0].label
    said = [
        f"The slides report {join_with_and([f'{with_sign(v, 1)} for {k}' for k, v in slides.items()])}, in points from {first}."
    ]
    for method, rule in GREEDY_VARIANTS.items():
        got = {
            k: contrast(gathered, a, row_of(group, first, method))
            for k in slides
            if (a := row_of(group, k, method))
        }
        same = sum((e.mean < 0) == (slides[k] < 0) and e.mean != 0 for k, e in got.items())
        parts = join_with_and([f"{k} {with_sign(e.mean)}" for k, e in got.items()])
        said.append(f"With the {rule} rule: {parts}; {same} of {len(got)} have the slides' sign.")
    return said


def _set_cover(gathered: StudyRecords, group: Group) -> list[str]:
    slides = _numbers(gathered, group)
    said = []
    for count in ("43105", "38964"):
        a, b = f"gradient, {count}", f"feature, {count}"
        if {a, b} <= set(slides):
            said.append(
                f"At {count} clusters the slides put gradient space {with_sign(slides[a] - slides[b])} points from "
                "feature space."
            )
            said += _against_slides(gathered, group, a, b, slides[a] - slides[b])
    full = next((r for r in group.rows if r.method == "full"), None)
    if full is not None:
        said.append(
            f"The pretraining run on all points, which every cover needs first, reaches {mean(gathered, full):.2f} %."
        )
    return said


def _analysis(gathered: StudyRecords, group: Group) -> list[str]:
    said = [
        "The slides call FL better in training and less helpful on the test set, with curves but no numbers."
    ]
    full = row_of(group, "full")
    for row in group.rows:
        if row is full or full is None:
            continue
        train = sum(r.curves[-1]["train_acc_given"] for r in gathered.runs_of(row)) - sum(
            r.curves[-1]["train_acc_given"] for r in gathered.runs_of(full)
        )
        train /= len(row.names)
        said.append(
            f"{display_label(row)} ends {with_sign(train)} points from full in training accuracy; on the test set its best epoch "
            f"is {points(contrast(gathered, row, full))} from full."
        )
    return said


def _interval(gathered: StudyRecords, group: Group) -> list[str]:
    """Data covered against how often is selected; the slides have one share for all of it."""
    said = []
    for method, rule in GREEDY_VARIANTS.items():
        rows = [r for r in group.rows if r.method == method]
        if not rows:
            continue
        share = {r: 100 * mean(gathered, r, "covered") for r in rows}
        told = f"The {rule} rule has covered {join_with_and([f'{v:.0f} % ({r.label})' for r, v in share.items()])} of the data at the end"
        published = gathered.slide_numbers(group, rows[0]).get("covered")
        if published is not None:
            near = min(rows, key=lambda r: abs(share[r] - 100 * published))
            told += f"; the slides' {100 * published:.0f} % is nearest to {near.label}"
        said.append(told + ".")
    every, last = group.rows[0], [r for r in group.rows if r.method == group.rows[0].method][-1]
    return [
        *said,
        f"In best accuracy {display_label(last)} is {points(contrast(gathered, last, every))} from {display_label(every)}.",
    ]


def _other(gathered: StudyRecords, group: Group) -> list[str]:
    """A group the slides do not have: every row against full training, or against the group's first row."""
    first = row_of(group, "full") or group.rows[0]
    ranked = sorted((r for r in group.rows if r is not first), key=lambda r: -mean(gathered, r))
    said = [
        f"The slides have no number for this group; {display_label(first)} reaches {mean(gathered, first):.2f} %."
    ]
    if ranked:
        parts = join_with_and(
            [f"{display_label(r)} {with_sign(contrast(gathered, r, first).mean)}" for r in ranked]
        )
        said.append(
            f"From it, in points of best accuracy: {parts}. The first of these is "
            f"{points(contrast(gathered, ranked[0], first))} from it."
        )
    return said


PARAGRAPHS = {
    "noise": _noise,
    "radius": _radius,
    "ratio_": _flr,
    "ratio": _ratio,
    "ablations": _ablations,
    "set_cover": _set_cover,
    "analysis": _analysis,
    "interval": _interval,
    "other": _other,
}
