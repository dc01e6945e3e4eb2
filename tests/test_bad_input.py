"""Whatever words a command is given: its documented result, or one line that says what is wrong.

`pytest tests/test_bad_input.py --hypothesis-profile=long` tries fifty times as many.
"""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from robustfl.cli import main
from robustfl.study import config as study_config
from robustfl.study import experiments
from robustfl.study.cli import set_words

KEYS = tuple(study_config.RULES)
RUN = "cifar10-speed-random0.2-seed0"
EXAMPLES = settings(
    max_examples=settings.default.max_examples // 4,  # a command each
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# what an argument can hold: no zero byte, and what Python makes of bytes that are no UTF-8
WORDS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["", "-", "--", ".", "..", "/", "~", "auto", "smoke", "\udcff", "{x}", "a b"]),
    st.integers().map(str),
)
YAML = st.one_of(
    WORDS,
    st.sampled_from(
        [
            "[",
            "{",
            "~nobody/x",
            "~/x",
            "!!bool x",
            "!!timestamp x",
            "2025-13-45",
            "&a [*a]",
            "%x",
            "[[1]]",
            "1e400",
        ]
        + ["null", "true", "yes", "[0, 0]", "{a: b}", "{source: folder}", "'\\0'", '"\\0"']
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
# KEY=VALUE, mostly with a key that there is
SETTINGS = st.one_of(
    st.tuples(st.sampled_from(KEYS), YAML).map("=".join),
    st.tuples(st.sampled_from(KEYS), VALUES.map(lambda v: json.dumps(v))).map("=".join),
    WORDS,
)


def sets(*last):
    """Words --set of some settings; `last` have the last word."""
    several = st.lists(SETTINGS, max_size=2)
    return several.map(lambda items: [w for item in [*items, *last] for w in ("--set", item)])


def run(words):
    """(status, stdout, stderr) of a command in this process; no exception may come out of it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as end:  # argparse's way
            status = end.code
    return status, out.getvalue(), err.getvalue()


def is_told(words, status, err):
    """Whether a refusal is one line in our words, or argparse's usage and line."""
    lines = err.splitlines()
    usage = bool(lines) and lines[0].startswith("usage: ") and ": error: " in lines[-1]
    ours = err.endswith("\n") and re.match("robustfl: .* must ", err)
    assert status in (1, 2) and (usage or ours), (words, status, err)
    if ours:
        assert len(lines) == 1 and len(err) < 2000, (words, err)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*"))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with the YAML files and nothing else."""
    shutil.copytree("config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROBUSTFL_WORKER", raising=False)
    return tmp_path


def check_reading(words, place):
    """A command that writes nothing: its lines, or a refusal."""
    before = files(place)
    status, out, err = run(words)
    if status:
        assert out == ""
        is_told(words, status, err)
    assert files(place) == before, words


@EXAMPLES
@given(st.lists(WORDS | st.just("noise_0.4_cifar10"), max_size=1), WORDS | st.none(), sets())
@example([], "", ["--set", "epochs=1" + "0" * 400])
def test_runs(place, groups, scale, changed):
    words = ["runs", *(["--scale", scale] if scale is not None else []), *changed]
    check_reading([*words, *(word for group in groups for word in ("--group", group))], place)


@EXAMPLES
@given(WORDS | st.just(RUN), WORDS | st.none(), sets())
def test_show(place, name, scale, changed):
    check_reading(
        ["show", *(["--scale", scale] if scale is not None else []), *changed, "--", name], place
    )


@EXAMPLES
@given(
    st.sampled_from(["tables", "figures", "pdf", "ladder", "readings"]) | WORDS,
    WORDS | st.none(),
    WORDS | st.none(),
    sets("results=nowhere"),
)
def test_report_without_records(place, what, scale, study, changed):
    words = ["report", *(["--scale", scale] if scale is not None else []), *changed]
    words += ["--study", study] if study is not None else []
    before = files(place)
    status, _, err = run([*words, "--", what])
    is_told(words, status, err)
    assert files(place) == before


@EXAMPLES
@given(
    st.lists(WORDS | st.just("x/y"), max_size=2),
    st.lists(WORDS | st.just("noise_0.4_cifar10"), max_size=1),
    WORDS | st.none(),
    WORDS,
    sets("results=nowhere"),
)
@example(["\n/"], [], None, "out", ["--set", "results=nowhere"])
def test_tensorboard_without_records(place, names, groups, scale, out, changed):
    words = ["tensorboard", *(["--scale", scale] if scale is not None else []), *changed]
    words += [word for group in groups for word in ("--group", group)]
    before = files(place)
    status, _, err = run([*words, "--out", out, "--", *names])
    is_told(words, status, err)
    assert files(place) == before


@EXAMPLES
@given(st.lists(WORDS | st.just("cifar10"), max_size=2), WORDS)
def test_data_check(place, names, cache):
    words = ["data", "check", "--cache", cache, "--", *names]
    before = files(place)
    status, _, err = run(words)
    is_told(words, status, err)
    assert files(place) == before


@pytest.mark.skipif(experiments.cuda_present(), reason="a run on the device would begin")
@EXAMPLES
@given(
    WORDS | st.just(RUN),
    st.one_of(
        st.none(),
        WORDS,
        st.dictionaries(st.sampled_from(["seed", "epochs", "noise_map", "x"]), VALUES).map(
            json.dumps
        ),
    ),
    st.sampled_from(["1", "0", "-1", "x", "1e9", "10" * 20]),
    st.sampled_from(["1", "0", "x"]),
    sets("device=cuda", "results=r", "cache=c"),
)
@example("..", "{}", "1", "1", ["--set", "device=cuda"])
@example("m", '{"a":' + "[" * 9000, "1", "1", ["--set", "device=cuda"])
def test_train_refuses_before_it_writes(place, name, spec, threads, checkpoints, changed):
    """What would be right is refused at last, since there is no CUDA device."""
    words = ["train", "--scale", "smoke", "--threads", threads, "--checkpoint-every", checkpoints]
    words += ["--spec", spec] if spec is not None else []
    before = files(place)
    status, out, err = run([*words, *changed, "--", name])
    assert out == ""
    is_told(words, status, err)
    assert files(place) == before


@EXAMPLES
@given(st.dictionaries(st.sampled_from([*KEYS, "other"]), VALUES, max_size=4))
def test_a_config_is_taken_or_its_key_is_named(changed):
    config = dict(experiments.read_yaml(Path("config/config.yaml"))) | changed
    try:
        taken = experiments.check_config(config)
        # a leading ~ of a path is home; whatever else is taken is taken as it is
        assert taken | {key: config[key] for key in ("results", "cache", "data")} == config
    except experiments.StudyError as error:
        assert str(error).startswith((*(f"{key} must be " for key in changed), "config must have"))


@EXAMPLES
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_words_that_hand_a_config_on_mean_the_same(changed):
    """To the calls that a workflow makes."""
    finite = json.loads(re.sub("NaN|-?Infinity", "0", json.dumps(changed)))
    plain = dict.fromkeys(KEYS)
    words = set_words(finite)
    from robustfl.study.cli import override

    assert override(plain, words[1::2]) == plain | finite


@EXAMPLES
@given(YAML)
def test_a_value_of_the_workflow_s_command_line_is_read_or_left(text):
    value = experiments.parse_override(text)
    assert value is None or type(value) in (int, bool) or value == text
