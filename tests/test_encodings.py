"""Text files are UTF-8 whatever the locale: every call that opens one says so."""

import ast
from pathlib import Path

import pytest

FOLDERS = ("robustfl", "scripts", "benchmarks", "examples")
SOURCES = sorted(path for folder in FOLDERS for path in Path(folder).rglob("*.py"))
OPENERS = ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile")
TEXT_CALLS = ("read_text", "write_text", "TextIOWrapper")


def called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def mode(call: ast.Call) -> str:
    """The mode of a call that opens a file; files without a name are binary unless told."""
    given = [word.value for word in call.keywords if word.arg == "mode"]
    if called(call) in ("open", "fdopen"):
        # Path.open has its mode first, the others have it after the file
        of_path = isinstance(call.func, ast.Attribute) and called(call) == "open"
        given += call.args[0 if of_path else 1 :][:1]
        default = "r"
    else:
        given += call.args[:1]
        default = "w+b"
    return given[0].value if given and isinstance(given[0], ast.Constant) else default


def leaves_it_to_the_locale(call: ast.Call) -> bool:
    words = {word.arg for word in call.keywords}
    if "encoding" in words:
        return False
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if owner in ("os", "tarfile", "archive", "Image") and called(call) == "open":
        return False  # descriptors, archives and pictures
    if called(call) in OPENERS:
        return "b" not in str(mode(call))
    return called(call) in TEXT_CALLS or bool({"text", "universal_newlines"} & words)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_text_is_left_to_the_locale(path):
    calls = [n for n in ast.walk(ast.parse(path.read_bytes())) if isinstance(n, ast.Call)]
    lines = [call.lineno for call in calls if leaves_it_to_the_locale(call)]
    assert not lines, f"{path}: lines {lines} open text without encoding="


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("open(p)", True),
        ("open(p, 'w', newline='')", True),
        ("open(p, 'rb')", False),
        ("open(p, encoding='utf-8')", False),
        ("p.open()", True),
        ("p.open('wb')", False),
        ("os.open(p, os.O_RDONLY)", False),
        ("os.fdopen(d, 'w')", True),
        ("p.read_text()", True),
        ("p.write_text(t)", True),
        ("p.write_text(t, encoding='utf-8')", False),
        ("tempfile.NamedTemporaryFile()", False),
        ("tempfile.NamedTemporaryFile('w')", True),
        ("subprocess.run(c, text=True)", True),
        ("subprocess.run(c, text=True, encoding='utf-8')", False),
    ],
)
def test_the_rule_finds_what_it_is_for(line, left):
    call = ast.parse(line).body[0].value
    assert leaves_it_to_the_locale(call) is left
