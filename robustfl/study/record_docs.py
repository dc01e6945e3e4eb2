"""`python -m robustfl.study.record_docs`: write docs/records.md's table of curves.csv again."""

from __future__ import annotations

import re
from pathlib import Path

from robustfl.study.curve_row import columns

PAGE = Path("docs/records.md")
TABLE = re.compile(r"(?<=^## `curves\.csv`\n\n)(\|.*\n)+", re.MULTILINE)


def curves_table() -> str:
    """The columns of curves.csv as a Markdown table."""
    lines = ["| column | unit | meaning |", "|---|---|---|"]
    for name, column in columns().items():
        meaning = column.meaning.replace("|", r"\|")  # a bare one would end the cell
        lines.append(f"| `{name}` | {column.unit} | {meaning} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with its table of curves.csv made again. Raises ValueError where it has none."""
    # by a function, as a replacement text would have its backslashes read as escapes
    updated, count = TABLE.subn(lambda match: curves_table(), page)
    if count != 1:
        raise ValueError(f"{PAGE} must have one table under `curves.csv`; got {count}")
    return updated


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
