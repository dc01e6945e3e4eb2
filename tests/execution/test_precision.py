"""The choice of a precision: what decides it, what is remembered, and real probes."""

import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from robustfl.execution import precision
from robustfl.execution.precision import Choice, choose

CPU = torch.device("cpu")
SHAPE = (3, 32, 32)
HAS_BF16 = precision._has_bf16


class Probe:
    """Stands in for `measure`: a step of 16 images takes these seconds. Counts its calls."""

    def __init__(self, fp32: float, bf16: float) -> None:
        self.seconds, self.calls = {"fp32": fp32, "bf16": bf16}, 0

    def __call__(self, device, model_name, shape, batch_size):
        self.calls += 1
        return 16, self.seconds


@pytest.fixture(autouse=True)
def with_bf16(monkeypatch):
    monkeypatch.setattr(precision, "_has_bf16", lambda device: True)


@pytest.mark.parametrize(
    "fp32, bf16, faster",
    [(1, 0.5, "bf16"), (1, 0.96, "bf16"), (1, 0.98, "fp32"), (1, 1, "fp32"), (0.55, 0.8, "fp32")],
)
def test_bf16_only_where_a_step_gains_more_than_the_margin(tmp_path, fp32, bf16, faster):
    choice = choose(CPU, "resnet8", SHAPE, 128, tmp_path, Probe(fp32, bf16))
    assert choice == Choice(faster, {"fp32": fp32, "bf16": bf16}, 16)


def test_a_machine_that_was_probed_is_not_probed_again(tmp_path):
    first, second = Probe(1 / 3, 0.2), Probe(0.2, 1 / 3)
    choice = choose(CPU, "resnet8", SHAPE, 128, tmp_path / "made", first)
    assert choose(CPU, "resnet8", SHAPE, 128, tmp_path / "made", second) == choice
    assert (first.calls, second.calls, choice.precision) == (1, 0, "bf16")


def test_what_the_time_depends_on_has_entries_of_its_own(tmp_path, monkeypatch):
    def ask(probe, model="resnet8", shape=SHAPE, batch_size=128):
        return choose(CPU, model, shape, batch_size, tmp_path, probe).precision

    fast, slow = Probe(1.0, 0.5), Probe(0.5, 1.0)
    assert ask(fast) == "bf16"
    for other in ({"model": "resnet14"}, {"shape": (1, 28, 28)}, {"batch_size": 64}):
        assert ask(slow, **other) == "fp32"
    torch.set_num_threads(2)
    assert ask(slow) == "fp32"
    torch.set_num_threads(1)
    monkeypatch.setattr(precision, "_flags", lambda: ["avx512f"])  # as on an older processor
    assert ask(slow) == "fp32"
    assert slow.calls == 5 and len(json.loads((tmp_path / "precision.json").read_text())) == 6


def spoilt(text: str):
    """The remembered file, cut, of another program, or with an entry that no probe wrote."""
    yield from (text[:-30], "", "\0\xff", "[]", "null", '{"learning": "rate"}')
    wrong = {"0.5": ("-0.5", "NaN", "true"), '"bf16"': ('"int8"',), "16,": ("0,", "1.5,")}
    for old, new in [(old, new) for old, each in wrong.items() for new in each]:
        assert old in text
        yield text.replace(old, new)


def test_a_broken_file_counts_for_nothing_and_is_written_anew(tmp_path):
    path = tmp_path / "precision.json"
    choose(CPU, "resnet8", SHAPE, 128, tmp_path, Probe(1.0, 0.5))
    whole = path.read_text()
    for text in spoilt(whole):
        path.write_text(text)
        probe = Probe(1.0, 0.5)
        assert choose(CPU, "resnet8", SHAPE, 128, tmp_path, probe).precision == "bf16"
        assert probe.calls == 1 and path.read_text() == whole, text
    path.write_bytes(b"\xff\xfe")  # no text at all
    assert choose(CPU, "resnet8", SHAPE, 128, tmp_path, Probe(1.0, 2.0)).precision == "fp32"


def test_a_broken_entry_leaves_the_others(tmp_path):
    path = tmp_path / "precision.json"
    for model in ("resnet8", "resnet14"):
        choose(CPU, model, SHAPE, 128, tmp_path, Probe(1.0, 0.5))
    held = json.loads(path.read_text())
    held[next(key for key in held if "resnet8" in key)] = None
    path.write_text(json.dumps(held))
    other = Probe(1.0, 2.0)
    assert choose(CPU, "resnet8", SHAPE, 128, tmp_path, other).precision == "fp32"
    assert choose(CPU, "resnet14", SHAPE, 128, tmp_path, other).precision == "bf16"
    assert other.calls == 1


def ask_beside_others(cache, i: int) -> tuple[str, int]:
    """Ask in a process where bf16 is faster or not by turns, with a probe that takes a while."""
    precision._has_bf16 = lambda device: True
    probe = Probe(1.0, 0.5 + i % 2)

    def slowly(*given):
        time.sleep(0.05)
        return probe(*given)

    model = "resnet8" if i < 4 else "resnet14"
    return choose(CPU, model, SHAPE, 128, cache, slowly).precision, probe.calls


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_runs_that_ask_at_once_get_one_answer(tmp_path, kind):
    if kind == "threads":
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask_beside_others, [tmp_path] * 8, range(8)))
    else:
        with multiprocessing.get_context("fork").Pool(8) as pool:
            answers = pool.starmap(ask_beside_others, [(tmp_path, i) for i in range(8)])
    for one_model in (answers[:4], answers[4:]):
        assert len({chosen for chosen, _ in one_model}) == 1
        assert sum(calls for _, calls in one_model) == 1
    assert len(json.loads((tmp_path / "precision.json").read_text())) == 2


def test_a_device_without_bf16_is_not_probed(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_has_bf16", lambda device: False)
    probe = Probe(1.0, 0.5)
    assert choose(CPU, "resnet8", SHAPE, 128, tmp_path, probe) == Choice("fp32", {}, 0)
    assert probe.calls == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("capability, has", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_has_bf16_from_compute_capability_8(monkeypatch, capability, has):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert HAS_BF16(torch.device("cuda")) is has


@pytest.mark.parametrize("seconds, chosen", [((1.0, 0.99), "bf16"), ((1.0, 1.01), "fp32")])
def test_on_a_gpu_bf16_unless_slower(tmp_path, monkeypatch, seconds, chosen):
    monkeypatch.setattr(precision, "device_name", lambda device: "a GPU")
    got = choose(torch.device("cuda"), "resnet8", SHAPE, 128, tmp_path, Probe(*seconds))
    assert got.precision == chosen


def test_a_wrong_question_names_the_field(tmp_path):
    with pytest.raises(ValueError, match="model must be one of .*; got 'resnet9'"):
        choose(CPU, "resnet9", SHAPE, 128, tmp_path)
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1; got 0"):
        choose(CPU, "resnet8", SHAPE, 0, tmp_path)
    assert not (tmp_path / "precision.json").exists()


class Steps:
    """Stands in for a run's steps: an epoch moves the clock, bf16 by half of what fp32 takes."""

    def __init__(self, clock: list[float], per_image: float) -> None:
        self.clock, self.per_image = clock, per_image

    def run_epoch(self, plan) -> torch.Tensor:
        self.clock[0] += self.per_image * len(plan.order)
        return torch.zeros(3)

    def close(self) -> None: ...


@pytest.mark.parametrize(
    "per_image, batch_size, images, spent",
    [
        (1e-4, 256, 128, 0.6),
        (1e-4, 100, 100, 0.6),
        (1e-4, 7, 7, 0.6),
        (1e-3, 256, 64, 0.6),
        (4e-3, 256, 16, 0.6),
        (1e-2, 256, 16, 1),
    ],
)
def test_the_probed_batch_is_the_largest_that_keeps_to_the_budget(
    monkeypatch, per_image, batch_size, images, spent
):
    clock = [0.0]

    def steps(device, model_name, data, shape, batch_size, way):
        return Steps(clock, per_image if way == "fp32" else per_image / 2)

    monkeypatch.setattr(precision, "_steps", steps)
    got, seconds = precision.measure(CPU, "resnet8", SHAPE, batch_size, clock=lambda: clock[0])
    assert got == images and clock[0] < spent
    assert seconds == pytest.approx({"fp32": per_image * images, "bf16": per_image * images / 2})


@pytest.mark.parametrize("model", ["resnet8", "resnet14_stride2", "resnet32_stride2", "resnet32"])
def test_a_real_probe_is_short_and_decides_by_what_it_measured(tmp_path, monkeypatch, model):
    monkeypatch.setattr(precision, "_has_bf16", HAS_BF16)
    start = time.process_time()
    choice = choose(CPU, model, SHAPE, 128, tmp_path)
    assert time.process_time() - start < 1.5
    seconds = choice.seconds
    if HAS_BF16(CPU):
        assert set(seconds) == {"fp32", "bf16"} and 16 <= choice.images <= 128
        assert choice.precision == ("bf16" if seconds["bf16"] < 0.97 * seconds["fp32"] else "fp32")
        assert choose(CPU, model, SHAPE, 128, tmp_path) == choice
    else:
        assert choice == Choice("fp32", {}, 0)


def test_a_probe_leaves_the_process_as_it_was(tmp_path):
    torch.manual_seed(3)
    np.random.seed(3)
    torch.use_deterministic_algorithms(True)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    try:
        choose(CPU, "resnet8", SHAPE, 32, tmp_path)
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
