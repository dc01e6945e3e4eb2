import pandas as pd
import pytest
from synthetic import write_study

from robustfl.evidence import report, tables
from robustfl.study import experiments, record

GROUP = "noise_0.4_cifar10"


def accuracy(spec):
    """full 40 + seed, everything else 3 points more; the last epoch is 2 points below the best."""
    best = 40.0 + spec.seed + (0 if spec.method == "full" and spec.weights == "uniform" else 3)
    return best, best - 2


@pytest.fixture
def planted(tmp_path):
    known = experiments.load("smoke", {"groups": [GROUP, "ablations_cifar10"], "seeds": [0, 1, 2]})
    return known, write_study(tmp_path, known, accuracy)


def test_ours_theirs_and_the_difference(planted):
    known, config = planted
    frame = tables.group_table(tables.gather(known, config), known.groups[GROUP]).set_index(
        ["row", "method"]
    )
    full = frame.loc[("full", "full")]
    assert (full.best_top1, full.best_top1_std, full.last_top1) == (41.0, 1.0, 39.0)
    assert full.slides_best == 83.20
    assert full.best_top1_minus_slides == pytest.approx(41.0 - 83.20)
    assert full.last_top1_minus_slides == pytest.approx(39.0 - 83.20)
    for method in ("facility_location", "centrality"):
        assert frame.loc[("FL weighted", method)].best_top1_minus_slides == pytest.approx(
            44.0 - 85.16
        )
        # 1 warm-up epoch of 4, ratio 0.4
        assert frame.loc[("FL weighted", method)].backwards_of_full == pytest.approx(0.55)
    assert full.seconds == 3.5 and full.seeds == 3
    assert full.runs.split() == [f"cifar10-robust-symmetric0.4-full-seed{s}" for s in range(3)]


def test_a_baseline_gets_no_number_of_the_slides(planted):
    known, config = planted
    frame = tables.group_table(tables.gather(known, config), known.groups[GROUP]).set_index("row")
    assert pd.isna(frame.loc["random"].slides_best) and pd.isna(
        frame.loc["random"].best_top1_minus_slides
    )


def test_ablations_are_changes_from_their_own_first_row(tmp_path):
    known = experiments.load("smoke", {"groups": ["ablations_cifar10"]})

    def plant(spec):
        return (40.0 + 5 * (spec.method == "centrality") - (spec.optimizer == "adam"),) * 2

    frame = tables.group_table(
        tables.gather(known, write_study(tmp_path, known, plant)), known.groups["ablations_cifar10"]
    )
    adam = frame[frame.row == "Adam"]
    assert list(adam.best_change) == [-1.0, -1.0] and list(adam.slides_change) == [-1.0, -1.0]


def test_a_row_is_found_or_none_is():
    group = experiments.load("smoke", {"groups": ["speed_cifar10"]}).groups["speed_cifar10"]
    assert tables.row_of(group, "20%", "random").method == "random"
    assert tables.row_of(group, "100%", "random") is None
    assert tables.row_of(group, "20%") is None  # three rows have the label
    noise = experiments.load("smoke", {"groups": [GROUP]}).groups[GROUP]
    assert tables.row_of(noise, "full", "centrality") is None
    assert tables.row_under(noise, "full", "centrality") is tables.row_of(noise, "full")


def test_a_label_names_its_selector_where_it_does_not_tell():
    known = experiments.load("smoke", {"groups": [GROUP, "speed_cifar10"]})
    labels = [tables.display_label(row) for row in known.groups["speed_cifar10"].rows]
    assert {"20% (exact)", "20% (released)", "20% (random)"} <= set(labels)
    assert len(labels) == len(set(labels))
    assert "random" in [tables.display_label(row) for row in known.groups[GROUP].rows]


def test_csv_files_hold_the_same(planted, tmp_path):
    known, config = planted
    report.make("tables", known, config, tmp_path / "no.pdf")
    folder = tmp_path / "results/smoke/tables"
    runs = pd.read_csv(folder / "runs.csv")
    assert set(runs.name) == set(known.specs) and {
        "best_top1",
        "spec_ratio",
        "seconds_select",
        "commit",
    } <= set(runs.columns)
    assert pd.read_csv(folder / f"{GROUP}.csv").best_top1[0] == 41.0
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    report.make("tables", known, config, tmp_path / "no.pdf")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("what", ["tables", "figures"])
def test_a_stale_record_stops_everything_by_name(planted, tmp_path, what):
    known, config = planted
    name = "cifar10-robust-symmetric0.4-full-seed1"
    path = tmp_path / "results/smoke/runs" / name / "metrics.json"
    path.write_text(path.read_text().replace(known.spec(name).hash, "0" * 16))
    with pytest.raises(record.RecordError, match=f"{name}.*stale"):
        report.make(what, known, config, tmp_path / "no.pdf")
    assert not (tmp_path / "results/smoke" / what).exists()


def test_an_absent_record_is_named(planted, tmp_path):
    known, config = planted
    name = "cifar10-robust-symmetric0.4-random0.4-seed2"
    (tmp_path / "results/smoke/runs" / name / "curves.csv").unlink()
    with pytest.raises(record.RecordError, match=name):
        tables.gather(known, config)
