"""What differs between two studies, in words: a published one and today's, say."""

from __future__ import annotations

from robustfl.study.experiments import Group, Row, Study
from robustfl.study.run_spec import RunSpec


def changes(old: Study, new: Study) -> list[str]:
    """One line per difference, from the scale down to single settings; empty for equal studies.

    Settings are compared as they are trained, after scaling, so a default that moved is seen and a
    setting that means the same by another name is not.
    """
    lines = []
    for what, was, now in (
        ("scale", old.scale, new.scale),
        ("seeds", list(old.seeds), list(new.seeds)),
    ):
        if was != now:
            lines.append(f"{what} {was} -> {now}")

    # what a scale changes is one setting of every row, and said once
    shared = [key for key in new.groups if key in old.groups]
    settings = {key: _settings_of_rows(old, new, key) for key in shared}
    every = [change for rows in settings.values() for change in rows.values()]
    common = [line for line in every[0] if all(line in change for change in every)] if every else []
    lines += [f"every row: {line}" for line in common]

    # groups in the order of the newer study, those that it has no more at the end
    for key, group in new.groups.items():
        if key not in old.groups:
            lines.append(f"group {key}: new, {len(group.rows)} rows")
            continue
        lines += _changes_of_group(old.groups[key], group)
        for row, changed in settings[key].items():
            lines += [f"group {key}, row {row}: {line}" for line in changed if line not in common]
    return lines + [f"group {key}: gone" for key in old.groups if key not in new.groups]


def _changes_of_group(was: Group, now: Group) -> list[str]:
    before, after = _rows(was), _rows(now)
    lines = [
        f"group {now.key}: {name} {getattr(was, name)!r} -> {getattr(now, name)!r}"
        for name in ("title", "slide", "dataset", "protocol", "figure", "text", "cost")
        if getattr(was, name) != getattr(now, name)
    ]
    lines += [f"group {now.key}, row {name}: new" for name in after if name not in before]
    return lines + [f"group {now.key}, row {name}: gone" for name in before if name not in after]


def _settings_of_rows(old: Study, new: Study, key: str) -> dict[str, list[str]]:
    """Changed settings of each row that the group has in both studies."""
    before, after = _rows(old.groups[key]), _rows(new.groups[key])
    # one seed speaks for the row: its settings are the same under all of them
    return {
        name: _settings(old.specs[before[name].names[0]], new.specs[row.names[0]])
        for name, row in after.items()
        if name in before
    }


def _rows(group: Group) -> dict[str, Row]:
    """The rows by name; a label that several selectors share is followed by the selector."""
    return {
        f"{row.label} ({row.method})" if row.shared_label else row.label: row for row in group.rows
    }


def _settings(was: RunSpec, now: RunSpec) -> list[str]:
    before, after = was.asdict(), now.asdict()
    return [
        f"{name} {before.get(name)} -> {after.get(name)}"
        for name in after | before
        if name != "seed" and before.get(name) != after.get(name)
    ]
