"""The page of a study: that it says what the records say, and loads nothing."""

import base64
import io
import json
import re
import tomllib
import zlib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic import write_study

from robustfl.evidence import claims, figures, report, tables
from robustfl.evidence.report import page
from robustfl.evidence.report.page import content
from robustfl.study import experiments

PAGE = Path("robustfl/evidence/report/page")


class Reader(HTMLParser):
    """The rows of the verdicts' table, all attributes that load or lead somewhere, and all text."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.targets, self.words, self.elements = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.elements.append(tag)
        self.targets += [
            (tag, found[key]) for key in ("src", "href", "srcset", "data") if key in found
        ]
        if "data-line" in found:
            self.rows.append(found)

    def handle_data(self, data):
        # what stands in scripts and styles is no text of the page
        if self.elements[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.elements.append("")

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def data_of(text):
    """What the scripts read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found[1])


def make_all(known, config):
    """The page of planted records, with the tables and figures that it stands on."""
    out = Path(config["results"]) / known.scale / "report.html"
    for what in ("tables", "figures", "html"):
        report.make(what, known, config, out)
    return out


def planted_study(folder):
    """(study, config) of two groups on five seeds, with a ladder beside the scale."""
    known = experiments.load(
        "laptop", {"groups": ["noise_0.4_cifar10", "speed_fashion_mnist"], "seeds": [0, 1, 2, 3, 4]}
    )

    def accuracy(spec):
        best = 50 + spec.seed + 3 * (spec.method == "centrality") + 0.3 * spec.seed * spec.ratio
        return best, best - 5

    config = write_study(folder, known, accuracy)
    (folder / "results/ladder").mkdir()
    (folder / "results/ladder/ladder.csv").write_text(
        "images,row,against,measure,seeds,difference,low,high,slides\n"
        "1600,full,random,last_top1,1,-5.9100,,,\n"
        "50000,FL weighted (exact),full,best_top1,2,1.5000,0.5000,2.5000,1.9600\n"
    )
    return known, config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(study, config, the page's file) of the planted study."""
    known, config = planted_study(tmp_path_factory.mktemp("a study"))
    return known, config, make_all(known, config)


@pytest.fixture(scope="module")
def read(made):
    return Reader(made[2].read_text())


@pytest.fixture(scope="module")
def data(made):
    return data_of(made[2].read_text())


@pytest.fixture(scope="module")
def verdicts(made):
    return pd.read_csv(made[2].parent / "tables/verdicts.csv", keep_default_na=False)


# what it says


def test_every_line_of_verdicts_csv_is_a_line_of_the_page(read, verdicts, data):
    assert len(read.rows) == len(verdicts) == len(data["verdicts"]) > 30
    names = [run["name"] for run in data["runs"]]
    for row, line, sides in zip(read.rows, verdicts.to_dict("records"), data["verdicts"]):
        assert row["data-claim"] == line["says"] and row["data-outcome"] == line["outcome"]
        assert row["data-rule"] == (line["rule"] or "any")
        if line["value"] != "":
            assert float(row["data-value"]) == pytest.approx(float(line["value"]), rel=1e-3)
        runs = [" ".join(names[i] for i in side["runs"]) for side in sides]
        assert " | ".join(runs) == line["runs"]
    assert {row["data-family"] for row in read.rows} == {"primary", "exploratory", "fact"}
    reasons = set(verdicts.reason) - {""}
    assert reasons and all(reason in read.text for reason in reasons)


def test_the_forest_plot_is_the_primary_lines_of_verdicts_csv(data, verdicts):
    primary = verdicts[verdicts.family == "primary"]
    assert len(data["forest"]) == len(primary) > 3
    for point, line in zip(data["forest"], primary.to_dict("records")):
        for key in ("value", "low", "high", "slides"):
            planted = None if line[key] == "" else pytest.approx(float(line[key]), rel=1e-3)
            assert point[key] == planted
        if line["over_random"] != "":
            left = float(line["value"]) - float(line["over_random"])
            assert point["random"] == pytest.approx(left, rel=1e-3, abs=1e-9)
        assert point["testable"] == (line["outcome"] != "not testable here")
        assert point["text"].startswith(line["comparison"]) and line["outcome"] in point["text"]
    assert any(point["random"] is not None for point in data["forest"])


def test_every_text_and_table_of_report_json_stands_in_the_page(made, read):
    said = json.loads((made[2].parent / "tables/report.json").read_text())
    texts = [*said["abstract"], said["statement"], *said["verdicts"]["said"], *said["protocols"]]
    texts += [line["sentence"] for line in said["verdicts"]["primary"]]
    texts += [
        said["cost"]["paragraph"],
        *(cell for row in said["cost"]["table"]["rows"] for cell in row),
    ]
    texts += [cell for row in said["open"] + said["facts"] + said["provenance"] for cell in row]
    for section in said["sections"]:
        texts += [section["title"], section["slide"], section["paragraph"]]
        texts += [section["figure"]["caption"], *section["table"]["columns"]]
        texts += [cell for row in section["table"]["rows"] for cell in row]
    absent = [text for text in texts if " ".join(text.split()) not in read.text]
    assert len(texts) > 100 and not absent


def test_curves_are_those_of_the_records(made, data):
    known, config, _ = made
    records = tables.gather(known, config).records
    shown = {measure["key"] for measure in data["measures"]}
    assert {"test_top1", "test_top5", "train_acc_given", "covered", "label_precision"} <= shown
    assert [run["name"] for run in data["runs"]] == list(records)
    for run, curves in zip(data["runs"], data["curves"]):
        record = records[run["name"]]
        assert set(curves) <= shown
        for key in shown:
            planted = [epoch[key] for epoch in record.curves]
            got = curves.get(key, [None] * len(planted))
            assert [v is None for v in got] == [v is None for v in planted]
            pairs = [(a, b) for a, b in zip(got, planted) if a is not None]
            assert all(a == pytest.approx(b, rel=1e-3) for a, b in pairs), key
        assert run["best"] == f"{record.metrics['best_top1']:.2f}"


def test_links_lead_from_the_page_to_records_and_tables(made, read, data):
    folder = made[2].parent
    links = [run["file"] for run in data["runs"]]
    links += [t for tag, t in read.targets if tag == "a" and not t.startswith("#")]
    assert len(set(links)) == len(made[0].specs) + 3
    assert all((folder / link).is_file() for link in links)
    inside = {t[1:] for tag, t in read.targets if t.startswith("#")}
    assert inside <= set(re.findall(r' id="([^"]+)"', made[2].read_text()))


def test_pictures_are_those_of_picks_json(made, data):
    known, config, _ = made
    records = tables.gather(known, config).records
    strips = [strip for group in data["groups"] for strip in group["pictures"]]
    assert strips
    for strip in strips:
        picks = records[data["runs"][strip["run"]]["name"]].picks
        assert strip["selections"] == picks["selections"]
        for shown, point in zip(
            strip["most"] + strip["least"], picks["most"] + picks["least"], strict=True
        ):
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["png"]))))
            assert pixels.tobytes() == zlib.decompress(base64.b64decode(point["pixels"]))
            assert shown["count"] == point["count"]
            assert (shown["given"] == shown["true"]) == (point["given"] == point["true"])


def test_the_ladder_is_shown_where_there_is_one_and_the_scale_does_not_warn(made, data, tmp_path):
    first, second = data["ladder"]
    assert first["low"] is None and first["text"] == "full\n1,600 images: −5.91 (one seed)"
    assert second["slides"] == 1.96 and second["text"].endswith("+1.50 (+0.50 to +2.50)")
    assert content.ladder_points(tmp_path / "ladder.csv") == []

    known = experiments.load("smoke", {"groups": ["set_cover_cifar10"], "seeds": [0]})
    config = write_study(tmp_path, known)
    (tmp_path / "results/ladder").mkdir()
    (tmp_path / "results/ladder/ladder.csv").write_bytes(
        (made[2].parents[1] / "ladder/ladder.csv").read_bytes()
    )
    text = make_all(known, config).read_text()
    assert data_of(text)["ladder"] == [] and 'id="ladder"' not in text
    assert 'class="warning"' in text and 'class="warning"' not in made[2].read_text()


# how it is made


def test_nothing_is_loaded_from_elsewhere(made, read):
    text = made[2].read_text()
    assert "default-src 'none'" in text and "connect-src" not in text
    loaded = [t for tag, t in read.targets if tag != "a"]
    assert loaded and all(target.startswith("data:") for target in loaded)
    assert not any(re.match(r"[a-z]+:|//", t) for tag, t in read.targets if tag == "a")
    assert "link" not in read.elements and "iframe" not in read.elements
    style = (PAGE / "page.css").read_text()
    assert "url(" not in style and "@import" not in style


def test_texts_are_never_markup(made):
    known, config, out = made
    said = json.loads((out.parent / "tables/report.json").read_text())
    planted = "</script><script>alert(1)</script><b>bold"
    said["statement"] = said["sections"][0]["paragraph"] = planted
    gathered = tables.gather(known, config)
    text = page.html(gathered, claims.verdicts(gathered), said, out)
    assert planted not in text and planted in " ".join(Reader(text).words)
    assert page.script_safe({"says": planted}).count("<") == 0
    assert json.loads(page.script_safe({"says": planted})) == {"says": planted}


def test_same_records_give_the_same_bytes(made, tmp_path):
    known, config, out = made
    first = out.read_bytes()
    report.make("html", known, config, out)
    assert out.read_bytes() == first


def test_what_the_page_stands_on_must_be_there_and_of_this_study(made, tmp_path):
    known, config, out = made
    other = experiments.load("laptop", {"groups": ["noise_0.4_cifar10"], "seeds": [0, 1, 2, 3, 4]})
    with pytest.raises(report.ReportError, match="must be of this study's groups"):
        report.make("html", other, config, tmp_path / "page.html")
    bare = write_study(tmp_path, other)
    with pytest.raises(report.ReportError, match="robustfl report tables"):
        report.make("html", other, bare, tmp_path / "page.html")
    report.make("tables", other, bare, tmp_path / "page.html")
    with pytest.raises(report.ReportError, match="robustfl report figures"):
        report.make("html", other, bare, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_tables_of_other_records_are_refused(made, tmp_path):
    known = experiments.load("laptop", {"groups": ["noise_0.4_cifar10"], "seeds": [0, 1, 2, 3]})
    config = write_study(tmp_path, known)
    out = make_all(known, config)
    before = out.read_bytes()
    write_study(tmp_path, known, lambda spec: (60.0 + 5 * (spec.method == "full"), 40.0))
    with pytest.raises(report.ReportError, match="verdicts.csv must be of these records"):
        report.make("html", known, config, out)
    assert out.read_bytes() == before


def test_the_package_carries_every_file_of_the_page_and_says_whose_scripts_they_are():
    project = tomllib.loads(Path("pyproject.toml").read_text())
    globs = project["tool"]["setuptools"]["package-data"]["robustfl"]
    names = [PAGE / name for name in (*page.SCRIPTS, "page.css", "page.html.jinja")]
    names += [PAGE / "vendor/LICENSE", PAGE / "vendor/README.md"]
    for path in names:
        assert path.is_file()
        assert any(fnmatch(str(path.relative_to("robustfl")), glob) for glob in globs), path
    notes = [(PAGE / "vendor" / name).read_text() for name in ("README.md", "LICENSE")]
    for script in (PAGE / "vendor").glob("*.js"):
        version = re.search(r"v(\d+\.\d+\.\d+)", script.read_text()[:100])[1]
        assert all(version in note for note in notes), script
        assert script.stat().st_size < 400_000


def test_a_figure_s_name_says_its_group_and_what_it_shows():
    known = experiments.load("smoke", {"seeds": [0]})
    named = {name: figures.parts(known, name) for name in figures.names(known)}
    assert named["verdicts"] == ("verdicts", "")
    assert named["noise_0.4_cifar10"] == ("its rows", "noise_0.4_cifar10")
    assert named["picks_noise_0.4_cifar10"] == ("its picked images", "noise_0.4_cifar10")
    assert {key for _, key in named.values()} == {"", *known.groups}
    assert len(set(named.values())) == len(named)
