"""What `robustfl show` prints of a run."""

from __future__ import annotations

import yaml

from robustfl.study.experiments import Study
from robustfl.study.run_spec import help_of


def run_text(study: Study, name: str) -> str:
    """A run's full spec, each field with its help as a comment, and the slides it belongs to.

    The text is YAML. Raises StudyError for a name that the study does not have.
    """
    spec = study.spec(name)
    lines = _dump({"name": name, "scale": study.scale, "hash": spec.hash}) + ["spec:"]
    for field, value in spec.asdict().items():
        first, *entries = _dump({field: value})  # a list has its entries on the lines below
        lines += [f"  {first}  # {help_of(field)}", *(f"  {line}" for line in entries)]

    # a run may belong to several groups, and so to several slides
    groups = [{"group": g.key, "title": g.title, "slide": g.slide} for g in study.groups_of(name)]
    return "\n".join([*lines, *_dump({"belongs to": groups})]) + "\n"


def _dump(values: dict) -> list[str]:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).splitlines()
