import re

import matplotlib
import pytest
from synthetic import write_study

from robustfl.evidence import figures, tables
from robustfl.evidence.figures import slides, style
from robustfl.study import experiments


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """All figures of the whole smoke study, one seed."""
    folder = tmp_path_factory.mktemp("figures")
    known = experiments.load("smoke", {"seeds": [0]})
    gathered = tables.gather(known, write_study(folder, known))
    figures.draw(gathered, folder / "svg")
    return gathered, folder / "svg"


def test_every_group_has_its_figure(drawn):
    gathered, folder = drawn
    stems = {path.stem for path in folder.iterdir()}
    assert stems == set(figures.names(gathered.study)) >= set(gathered.study.groups)
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert text.rstrip().endswith("</svg>"), path.name
        # words can be searched and copied
        assert text.count("<path") > 10 and text.count("<text") > 10, path.name


def test_same_records_same_bytes(tmp_path):
    known = experiments.load("smoke", {"seeds": [0, 1], "groups": ["noise_0.4_cifar10"]})
    gathered = tables.gather(known, write_study(tmp_path, known, lambda s: (50.0 + s.seed, 40.0)))
    for folder in ("a", "b"):
        figures.draw(gathered, tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        text = path.read_text()
        assert text == (tmp_path / "b" / path.name).read_text()
        assert not re.search(r"<dc:date>", text)


def test_what_the_slides_name_has_one_colour_in_all_figures(drawn):
    """Other lines share what is left of eight colours, and differ by their markers."""
    gathered, _ = drawn
    palette = {style.to_rgb(colour) for colour in style.PALETTE}
    assert len(palette) == 8 and len(set(style.COLOURS.values())) == len(style.COLOURS)
    for group in gathered.study.groups.values():
        found = style.looks(gathered, group)
        kinds = {}
        for row, look in found.items():
            kind = style.approach(gathered.study.specs[row.names[0]])
            kinds.setdefault((kind, look.dashes), []).append(look.colour)
            assert style.contrast(look.colour) >= style.LEAST_CONTRAST

        # alone in its style a line has its colour itself, beside others a shade of it
        for (kind, _), colours in kinds.items():
            if len(colours) == 1:
                named = style.to_rgb(style.COLOURS.get(kind, "#ffffff"))
                assert colours[0] == named if kind in style.COLOURS else colours[0] in palette
        looks = {(look.colour, look.dashes, look.marker) for look in found.values()}
        assert len(looks) == len(found), group.key


def test_points_are_means_of_seeds_beside_the_slides(tmp_path):
    known = experiments.load("smoke", {"seeds": [0, 1], "groups": ["ablations_cifar10"]})

    def accuracy(spec):
        return (50.0 + 2 * spec.seed - (3 + spec.seed) * (spec.optimizer == "adam"), 40.0)

    gathered = tables.gather(known, write_study(tmp_path, known, accuracy))
    points = slides.change_points(gathered, known.groups["ablations_cifar10"])
    adam = [point for point in points if point.row.label == "Adam"]
    assert [point.series for point in adam] == ["FL only (exact)", "FL only (released)"]
    for point in adam:  # changes of -3 and -4
        assert (point.mean, point.published) == (pytest.approx(-3.5), -1.0)
        assert point.sd == pytest.approx(0.5**0.5)
    assert not any(point.row.label.startswith("batch 32") for point in points)  # the reference


def test_an_added_experiment_gets_curves():
    group = experiments.Group(
        "pair_noise", "Pair noise", "beyond the slides", "cifar10", "robust", ()
    )
    assert group.figure == "curves"


SETTINGS = {
    "text.usetex": True,
    "axes.unicode_minus": False,
    "figure.dpi": 250,
    "figure.subplot.left": 0.3,
    "axes.formatter.limits": [-1, 1],
    "path.sketch": (1, 100, 2),
    "svg.image_inline": False,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_user_reach_no_figure(tmp_path, monkeypatch, setting):
    def draw(figure):
        axes = figure.subplots()
        axes.plot([-2000, 0, 1000], [-1e-4, 0, 1e-4], label="a")
        axes.imshow([[0, 1], [1, 0]], extent=(-2000, 1000, -1e-4, 1e-4), aspect="auto")

    monkeypatch.chdir(tmp_path)
    style.write_svg(draw, tmp_path / "plain.svg")
    with matplotlib.rc_context({setting: SETTINGS[setting]}):
        style.write_svg(draw, tmp_path / "set.svg")
    assert (tmp_path / "set.svg").read_bytes() == (tmp_path / "plain.svg").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.svg", "set.svg"]
