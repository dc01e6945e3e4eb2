import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pypdf import PdfReader
from synthetic import write_study

from robustfl.evidence import report, tables
from robustfl.evidence.claims import Outcome
from robustfl.evidence.figures import slides
from robustfl.evidence.report import captions, content, paragraphs, wording
from robustfl.study import experiments

ALL = ("tables", "figures", "pdf")


def make_all(known, config, out):
    for what in ALL:
        report.make(what, known, config, out)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The whole smoke study, one seed, down to the PDF."""
    folder = tmp_path_factory.mktemp("smoke")
    known = experiments.load("smoke", {"seeds": [0]})
    config = write_study(folder, known)
    make_all(known, config, folder / "summary.pdf")
    return known, config, folder


def text_of(path, page=None):
    pages = PdfReader(path).pages
    return " ".join(
        " ".join(p.extract_text() for p in (pages if page is None else [pages[page]])).split()
    )


def test_first_page_says_scale_and_that_smoke_means_nothing(smoke):
    known, _, folder = smoke
    first = text_of(folder / "summary.pdf", 0)
    assert "mean nothing beyond “the pipeline works”" in first
    for fact in (
        "Scale smoke",
        f"{len(known.specs)} in {len(known.groups)} groups",
        "Test processor",
        "2026-02-01 to 2026-02-03",
    ):
        assert fact in first, fact


def test_report_has_every_group_and_the_provenance(smoke):
    known, _, folder = smoke
    whole = text_of(folder / "summary.pdf")
    sections = json.loads((folder / "results/smoke/tables/report.json").read_text())["sections"]
    of_slides = {section["key"] for section in sections if section["of_slides"]}
    assert 8 <= len(of_slides) < len(known.groups)
    for group in known.groups.values():
        assert group.title in whole
        assert group.key not in of_slides or group.slide in whole
    for fact in ("2.13.0+cpu", "0" * 40, "results/smoke/tables/runs.csv"):
        assert fact in whole, fact

    # hashes are no reading matter: they stand in the table that the last page names
    runs = pd.read_csv(folder / "results/smoke/tables/runs.csv", dtype=str)
    assert "a" * 64 in runs.data_hashes[0] and set(runs.label_hash) == {"b" * 64}


def test_pdf_is_byte_stable(smoke, tmp_path):
    known, config, folder = smoke
    report.make("pdf", known, config, tmp_path / "again.pdf")
    assert (tmp_path / "again.pdf").read_bytes() == (folder / "summary.pdf").read_bytes()


def test_only_embedded_fonts(smoke):
    fonts = set()
    for page in PdfReader(smoke[2] / "summary.pdf").pages:
        for font in page["/Resources"].get("/Font", {}).values():
            fonts.add(font.get_object()["/BaseFont"].split("+")[-1].split("-")[0])
    assert fonts <= {"LibertinusSerif", "DejaVuSansMono", "DejaVuSans"}


def test_a_part_of_the_study_is_a_report(tmp_path):
    known = experiments.load("laptop", {"groups": ["radius_cifar10"], "seeds": [0, 1]})
    config = write_study(tmp_path, known, lambda s: (50.0 + s.seed, 40.0))
    make_all(known, config, tmp_path / "part of it.pdf")
    first = text_of(tmp_path / "part of it.pdf", 0)
    assert "Laptop scale" in first and "mean nothing" not in first


def test_what_a_part_does_not_have_gets_no_empty_table(tmp_path):
    """The ladder's rows alone have no primary claim, no slide of their own, no line of costs."""
    known = experiments.load("desk", {"groups": ["ladder"], "seeds": [0]})
    config = write_study(tmp_path, known)
    make_all(known, config, tmp_path / "ladder.pdf")
    whole = text_of(tmp_path / "ladder.pdf")
    assert "No primary claim speaks of these groups" in whole and "Beyond the slides" in whole
    for absent in ("Primary comparison", "Results, slide by slide", "Forward, %", "Figure 1"):
        assert absent not in whole, absent


def test_pdf_without_tables_says_what_to_run(smoke, tmp_path):
    known, config, folder = smoke
    with pytest.raises(report.ReportError, match="robustfl report tables"):
        report.make("pdf", known, {"results": str(tmp_path)}, tmp_path / "x.pdf")
    other = experiments.load("smoke", {"groups": ["radius_cifar10"]})
    with pytest.raises(report.ReportError, match="of this study's groups"):
        report.make("pdf", other, config, tmp_path / "x.pdf")
    shutil.copytree(folder / "results/smoke/tables", tmp_path / "smoke/tables")
    with pytest.raises(report.ReportError, match="robustfl report figures"):
        report.make("pdf", known, {"results": str(tmp_path)}, tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()


def planted(tmp_path, key, accuracy, seeds=(0, 1, 2)):
    known = experiments.load(
        "laptop",
        {
            "groups": [key, *(["noise_0.2_fashion_mnist"] if "0.4_fashion" in key else [])],
            "seeds": list(seeds),
        },
    )
    gathered = tables.gather(known, write_study(tmp_path, known, lambda s: (accuracy(s),) * 2))
    return paragraphs.paragraph(gathered, known.groups[key])


@pytest.mark.parametrize("gain, words", [(2.0, "+2.00"), (-2.0, "−2.00")])
def test_sign_of_the_paragraph_is_the_data_s(tmp_path, gain, words):
    said = planted(
        tmp_path, "noise_0.4_cifar10", lambda s: 50 + s.seed + gain * (s.method == "centrality")
    )
    sentence = next(
        part for part in said.split("Here ") if part.startswith("FL weighted (released) minus full")
    )
    assert words in sentence and ("the slides' sign, clear of" in sentence) == (gain > 0)
    assert ("opposite sign" in sentence) == (gain < 0)


def test_fashion_mnist_noise_is_called_implausible(tmp_path):
    said = planted(tmp_path, "noise_0.4_fashion_mnist", lambda s: 80 - 10 * s.noise_rate + s.seed)
    assert (
        "implausible" in said
        and "0.4 minus 0.2 is −2.00" in said
        and "so these runs show the opposite" in said
    )


@pytest.mark.parametrize("step, words", [(0, "cannot tell"), (10, "show it too")])
def test_more_noise_that_does_not_hurt_is_told_apart(tmp_path, step, words):
    def noise(spec):
        wobble = spec.seed if spec.noise_rate == 0.4 else -spec.seed
        return 80 + step * spec.noise_rate + wobble * (step == 0)

    assert words in planted(tmp_path, "noise_0.4_fashion_mnist", noise)


def test_one_seed_gets_no_interval(tmp_path):
    assert "(one seed)" in planted(tmp_path, "radius_cifar10", lambda s: 50 + s.radius, seeds=(0,))


def test_covered_data_is_held_against_the_slides_at_every_interval(tmp_path):
    known = experiments.load("laptop", {"groups": ["interval_cifar10"], "seeds": [0, 1]})

    def change(made):
        made["covered"] = {
            f"selection_interval{n}": covered for n, covered in ((10, 0.7), (25, 0.45), (50, 0.2))
        }.get(made["name"].split("-")[-2], 0.9)

    gathered = tables.gather(known, write_study(tmp_path, known, change=change))
    said = paragraphs.paragraph(gathered, known.groups["interval_cifar10"])
    for rule in ("exact", "released"):
        assert f"The {rule} rule has covered 90 % (every epoch), 70 % (20 selections)" in said
    assert said.count("the slides' 40 % is nearest to 8 selections") == 2


def study_with(folder, key, **entry):
    """The project's study with one group more, at smoke scale."""
    shutil.copytree("config", folder / "config")
    path = folder / "config/experiments.yaml"
    written = yaml.safe_load(path.read_text())
    about = {"title": "Added", "slide": "none", "dataset": "cifar10", "protocol": "speed"}
    written["groups"][key] = about | entry
    path.write_text(yaml.safe_dump(written, sort_keys=False))
    choice = {"groups": [key], "seeds": [0, 1]}
    return experiments.load("smoke", choice, folder / "config")


RANDOM_ROWS = {f"{percent}%": {"set": {"ratio": percent / 100}} for percent in (20, 40, 60)}


@pytest.mark.parametrize("text", ["ratio", "noise", "ablations", "flr", "interval", "analysis"])
def test_no_sentence_speaks_of_rows_that_a_group_does_not_have(tmp_path, text):
    known = study_with(
        tmp_path, "speed_random_cifar10", text=text, set={"method": "random"}, rows=RANDOM_ROWS
    )
    gathered = tables.gather(known, write_study(tmp_path, known))
    paragraph = paragraphs.paragraph(gathered, known.groups["speed_random_cifar10"])
    for phrase in ("-1 steps", "0 of 0", "exact rule", "released rule", "random subset does"):
        assert phrase not in paragraph, paragraph


def test_a_group_gets_what_it_says_and_not_what_its_key_resembles(tmp_path):
    known = study_with(tmp_path, "speed_random_cifar10", set={"method": "random"}, rows=RANDOM_ROWS)
    group = known.groups["speed_random_cifar10"]
    gathered = tables.gather(known, write_study(tmp_path, known))
    report_json = content.content(gathered, [])
    (section,) = report_json["sections"]
    assert section["paragraph"].startswith("The slides have no number for this group; 20% reaches")
    assert section["figure"]["caption"] == captions.CAPTIONS["curves"].format(noise="")
    assert section["table"]["rows"][0][0] == "20%"  # the only row of its label
    assert (group.figure, report_json["cost"]["table"]["rows"]) == ("curves", [])


def test_what_a_group_may_say_is_what_there_is():
    schema = yaml.safe_load(Path("workflow/schemas/experiments.schema.yaml").read_text())
    keys = schema["properties"]["groups"]["additionalProperties"]["properties"]
    assert set(keys["figure"]["enum"]) == set(slides.PLOTS) == set(captions.CAPTIONS)
    assert set(keys["text"]["enum"]) == set(paragraphs.PARAGRAPHS)


def test_words_for_numbers():
    assert wording.with_sign(-0.4) == "−0.40" and wording.with_sign(-0.001) == "0.00"
    assert (
        wording.join_with_and(["a"]) == "a"
        and wording.join_with_and(["a", "b", "c"]) == "a, b and c"
    )


def test_open_settings_are_the_config_s(smoke):
    """Every `open` of the file, with the value that stands there, in the report."""
    config = yaml.safe_load(Path("config/experiments.yaml").read_text())
    marked = [p["open"] for p in config["protocols"].values()]
    for group in config["groups"].values():
        marked += [
            entry["open"] for entry in (group, *group.get("rows", {}).values()) if "open" in entry
        ]
    found = experiments.open_settings()
    assert len(found) == sum(map(len, marked)) >= 30
    assert experiments.Open("speed protocol", "momentum 0.9", "the usual value") in found
    said = json.loads((smoke[2] / "results/smoke/tables/report.json").read_text())
    assert said["open"] == [[o.where, o.setting, o.reason] for o in found]


def test_report_json_is_plain(smoke):
    said = json.loads((smoke[2] / "results/smoke/tables/report.json").read_text())
    assert (
        said["scale"] == "smoke"
        and [s["key"] for s in said["sections"]] == list(smoke[0].groups)
        and said["warn"]
    )


def test_page_1_answers_and_the_verdicts_lead_to_their_runs(smoke):
    known, _, folder = smoke
    first = text_of(folder / "summary.pdf", 0)
    assert "Abstract" in first and "Figure 1" in first and "Of 12 primary comparisons" in first
    assert 1 <= len(PdfReader(folder / "summary.pdf").pages) <= 16

    # every comparison names its runs, seed by seed
    frame = pd.read_csv(folder / "results/smoke/tables/verdicts.csv")
    assert set(" ".join(frame.runs).replace("|", " ").split()) <= set(known.specs)


def test_what_each_rule_s_runs_found_stands_on_page_1(tmp_path):
    known = experiments.load("laptop", {"groups": ["noise_0.4_cifar10"], "seeds": [0, 1, 2]})
    gain = {"facility_location": -3, "centrality": 3}

    def accuracy(spec):
        better = gain.get(spec.method, 0) + 0.1 * spec.seed
        return (50 + spec.seed + better * (spec.weights == "ball"),) * 2

    config = write_study(tmp_path, known, accuracy)
    make_all(known, config, tmp_path / "summary.pdf")
    report_json = json.loads((tmp_path / "results/laptop/tables/report.json").read_text())
    lines = [p for p in report_json["verdicts"]["primary"] if p["key"] == "noise_0.4"]
    exact, released = (line["sentence"] for line in lines)
    assert exact.startswith("FL weighted (exact) − full is −2.9") and "not reproduced" in exact
    assert released.startswith("FL weighted (released) − full is +3.1")
    assert "reproduced by selection" in released
    first = text_of(tmp_path / "summary.pdf", 0)
    assert "reproduced by selection" in first and "not reproduced" in first


def test_rows_that_mix_precisions_or_test_sets_say_so(tmp_path):
    known = experiments.load("smoke", {"groups": ["radius_cifar10"], "seeds": [0, 1]})

    def change(made):
        if "ball2-seed1" in made["name"]:
            made["provenance"] |= {"precision": "bf16", "test_points": 10000}

    config = write_study(tmp_path, known, change=change)
    make_all(known, config, tmp_path / "summary.pdf")
    said = json.loads((tmp_path / "results/smoke/tables/report.json").read_text())["sections"][0][
        "paragraph"
    ]
    assert "not all trained in one precision (1 in bf16 and 11 in fp32)" in said
    assert "not all tested on as many images (11 on 2,000 and 1 on 10,000)" in said
    frame = pd.read_csv(tmp_path / "results/smoke/tables/radius_cifar10.csv").set_index("row")
    assert frame.precision["r = 2"] == "bf16 fp32" and frame.precision["r = 1"] == "fp32"
    assert frame.test_images["r = 2"] == "10000 2000"

    plain = write_study(tmp_path / "plain", known)
    report.make("tables", known, plain, tmp_path / "no.pdf")
    said = json.loads((tmp_path / "plain/results/smoke/tables/report.json").read_text())[
        "sections"
    ][0]["paragraph"]
    assert "precision" not in said and "tested on" not in said


def test_verdicts_as_csv_and_markdown(smoke):
    known, _, folder = smoke
    frame = pd.read_csv(folder / "results/smoke/tables/verdicts.csv")
    assert {outcome.value for outcome in Outcome} >= set(frame.outcome)
    assert set(frame.family) == {"primary", "exploratory"}
    text = (folder / "results/smoke/tables/verdicts.md").read_text()
    links = re.findall(r"\]\((\.\./[^)]+)\)", text)
    assert len(links) > 100
    for link in links:
        assert (folder / "results/smoke/tables" / link).resolve().exists(), link


def test_runs_of_a_comparison_stand_in_its_order(smoke):
    frame = pd.read_csv(smoke[2] / "results/smoke/tables/verdicts.csv")
    line = frame[frame.claim == "radius_best"].iloc[0]
    assert line.comparison == "r = 2 − r = 1"
    assert line.runs.split(" | ") == [
        f"cifar10-robust-symmetric0.4-full-ball{r}-seed0" for r in (2, 1)
    ]


def test_cost_is_beside_full_training(smoke):
    said = json.loads((smoke[2] / "results/smoke/tables/report.json").read_text())
    rows = {(row[1]): row for row in said["cost"]["table"]["rows"]}
    assert rows["random"][2:4] == ["55", "55"] and rows["full"][7] == "1.00×"

    # none of these records has a reading of energy
    frame = pd.read_csv(smoke[2] / "results/smoke/tables/verdicts.csv")
    energy = frame[frame.measure == "energy"]
    assert len(energy) and set(energy.reason) == {"no such number"}


def test_energy_is_told_where_a_device_reports_it(smoke, tmp_path):
    def metered(metrics):
        metrics["energy"] = 2500.0

    known = experiments.load("smoke", {"seeds": [0], "groups": ["noise_0.4_cifar10"]})
    make_all(known, write_study(tmp_path, known, change=metered), tmp_path / "summary.pdf")
    metered, silent = text_of(tmp_path / "summary.pdf"), text_of(smoke[2] / "summary.pdf")
    assert "Energy, kJ" in metered and "2.50" in metered and "other work on it included" in metered
    assert "Energy, kJ" not in silent and "No device of these runs reports energy" in silent


def spread(spec):
    """A wobble of each method's own, so that differences have an interval."""
    return 0.2 * ((spec.seed + len(spec.method)) % 3)


def test_beside_random_only_decided_rows_are_named(tmp_path):
    gain = {"centrality": 3.0, "facility_location": -3.0}
    text = planted(
        tmp_path, "noise_0.4_cifar10", lambda s: 50 + gain.get(s.method, 0.0) + spread(s)
    )
    assert (
        "Decided are FL only (released) and FL weighted (released) above it and FL only (exact) "
        "and FL weighted (exact) below it." in text
    )
    assert "No FL row" not in text


def test_beside_random_nothing_is_decided_where_nothing_differs(tmp_path):
    text = planted(tmp_path, "noise_0.4_cifar10", lambda s: 50 + spread(s))
    assert "No FL row is decidedly on either side of it." in text and "Decided are" not in text


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (3.0, "the exact rule is above it at 0 and below it at 0 and the released rule is above"),
        (-3.0, "the released rule is above it at 0 and below it at 4 of the ratios"),
    ],
)
def test_ratios_are_counted_on_the_side_where_the_interval_lies(tmp_path, gain, words):
    text = planted(
        tmp_path,
        "speed_cifar10",
        lambda s: 50 + gain * (s.method == "centrality") + spread(s),
    )
    assert words in text
    assert ("released rule is above it at 4" in text) == (gain > 0)


def test_captions_speak_of_noise_where_there_is_some(tmp_path):
    known = experiments.load(
        "laptop", {"groups": ["noise_0.4_cifar10", "medians_cifar10", "interval_cifar10"]}
    )
    gathered = tables.gather(known, write_study(tmp_path, known))
    said = {key: captions.caption(gathered, group) for key, group in known.groups.items()}
    assert "label noise" in said["noise_0.4_cifar10"] and "label noise" in said["medians_cifar10"]
    assert "label noise" not in said["interval_cifar10"]


@pytest.mark.parametrize("fitted", [True, False])
def test_training_is_compared_on_the_whole_training_set_or_not_at_all(tmp_path, fitted):
    known = experiments.load("laptop", {"groups": ["analysis_cifar10"], "seeds": [0, 1, 2]})
    config = write_study(tmp_path, known, lambda s: (50 + spread(s), 45.0))
    gathered = tables.gather(known, config)
    for record in gathered.records.values():
        # FL fits 4 points less of the whole set, though all of what it is trained on
        fit = 95.0 if record.spec.method == "full" else 91.0
        record.curves[-1]["fit"] = fit if fitted else None
    text = paragraphs.paragraph(gathered, known.groups["analysis_cifar10"])
    assert ("ends −4.00 points from it on the training set" in text) == fitted
    assert ("on the training set" in text) == fitted


# group, what is planted, what must be said, what must not
SENTENCES = {
    "the best radius is the planted one": (
        "radius_cifar10",
        lambda s: 50 + 2.0 * (s.radius == 3) + spread(s),
        ["the best mean here is r = 3 (", "r = 2 minus r = 3 is −2.00", "the opposite sign"],
        ["the best mean here is r = 2"],
    ),
    "smaller subsets do better": (
        "ratio_cifar10",
        lambda s: 50 - 10 * s.ratio + spread(s),
        ["flr 0.4 (exact) minus flr 0.6 (exact) is +2.00", "the slides' sign, clear of"],
        ["opposite sign"],
    ),
    "smaller subsets do worse": (
        "ratio_cifar10",
        lambda s: 50 + 10 * s.ratio + spread(s),
        ["flr 0.4 (exact) minus flr 0.6 (exact) is −2.00", "the opposite sign"],
        ["the slides' sign, clear of"],
    ),
    "accuracy grows with the ratio under one rule": (
        "speed_cifar10",
        lambda s: 50 + 20 * s.ratio * (s.method == "facility_location") + 0.1 * s.seed,
        ["With the exact rule 4 of 4 steps", "With the released rule 0 of 4 steps"],
        ["released rule 4 of 4"],
    ),
    "two ablations have the slides' sign": (
        "ablations_cifar10",
        lambda s: 50 - 3 * (s.optimizer == "adam") - 3 * (s.batch_size == 128) + 0.1 * s.seed,
        ["2 of 5 have the slides' sign"],
        ["5 of 5 have"],
    ),
    "set cover beside the slides": (
        "set_cover_cifar10",
        lambda s: 50 - 4 * (s.method != "full" and s.embedding == "gradient") + spread(s),
        ["gradient, 43334 minus feature, 43105 is −4.", "the opposite sign", "reaches 50."],
        ["the slides' sign, clear of"],
    ),
    "a group without numbers is ranked": (
        "baselines_cifar10",
        lambda s: 50 + 5 * (s.method == "el2n") + 2 * (s.method == "small_loss"),
        ["The slides have no number for this group", "of best accuracy: EL2N +5.00, small loss"],
        ["of best accuracy: small loss"],
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_sentence_follows_the_numbers(tmp_path, case):
    key, accuracy, present, absent = SENTENCES[case]
    text = planted(tmp_path, key, accuracy)
    for words in present:
        assert words in text, (words, text)
    for words in absent:
        assert words not in text, (words, text)


@pytest.mark.parametrize("slow", [True, False])
def test_the_paragraph_on_cost_counts_the_ratios_that_save_time(tmp_path, slow):
    groups = ["speed_cifar10", "analysis_cifar10"]  # with the run on all points
    known = experiments.load("laptop", {"groups": groups, "seeds": [0, 1]})

    def change(made):
        subset = "facility_location0.2" in made["name"] or "centrality0.2" in made["name"]
        made["seconds"]["train"] = 9.0 if subset and slow else 1.0 if subset else 5.0

    gathered = tables.gather(known, write_study(tmp_path, known, change=change))
    paragraph = content.content(gathered, [])["cost"]["paragraph"]
    count = 0 if slow else 1
    assert f"with the exact rule at {count} of 5 ratios" in paragraph
    assert ("(20%)" in paragraph) == (not slow)
