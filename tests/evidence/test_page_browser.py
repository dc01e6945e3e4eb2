"""The page of a study in Chromium: what a reader can do with it, by mouse and by keyboard.

Skipped where the browser or tests/requirements-browser.txt is absent: make test-page.
"""

import re
import shutil

import pandas as pd
import pytest
from test_page import data_of, make_all, planted_study

api = pytest.importorskip("playwright.sync_api", reason="needs tests/requirements-browser.txt")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="as playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")
WIDTHS = {"desk": 1280, "phone": 400}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    known, config = planted_study(tmp_path_factory.mktemp("a study"))
    return make_all(known, config)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser, file):
    """Opens the page; when the test ends, nothing may have been complained of or asked for."""
    contexts, complaints = [], []

    def open_page(width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: complaints.append(request.url))
        tab.goto(file.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    # the page itself, and images that stand in it, are all that is asked for
    assert [c for c in complaints if c != file.as_uri() and not c.startswith("data:")] == []


@pytest.fixture
def verdicts(file):
    return pd.read_csv(file.parent / "tables/verdicts.csv", keep_default_na=False)


def lines(tab):
    """The lines of the verdicts that are shown."""
    return tab.locator("#verdict-table tr[data-line]:visible")


def tip(plot):
    """What a plot says beside the pointer."""
    return "\n".join(plot.locator("[aria-label=tip] tspan").all_text_contents())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_it_fits_the_screen_and_axe_finds_nothing_serious(opened, width, scheme):
    # axe is a script of the test's own, which the page's policy would refuse
    tab = opened(width, color_scheme=scheme, bypass_csp=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for details in tab.locator("details").all():
        details.evaluate("it => { it.open = true; }")
    tab.locator(".open-runs").first.click()
    found = axe.Axe().run(tab).response["violations"]
    grave = [
        (v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert grave == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_filters_show_the_lines_that_verdicts_csv_has_of_it(opened, verdicts):
    tab = opened()
    assert lines(tab).count() == len(verdicts)
    outcome = verdicts.outcome.mode()[0]
    tab.select_option("select[name=outcome]", outcome)
    assert 0 < lines(tab).count() == (verdicts.outcome == outcome).sum() < len(verdicts)
    tab.select_option("select[name=rule]", "exact")
    both = verdicts[(verdicts.outcome == outcome) & (verdicts.rule == "exact")]
    assert lines(tab).count() == len(both)
    assert tab.locator("#count").inner_text() == f"{len(both)} of {len(verdicts)} lines"
    tab.click("text=Show all")
    tab.wait_for_function(
        f"document.getElementById('count').textContent[0] === '{len(verdicts)}'[0]"
    )
    assert lines(tab).count() == len(verdicts)
    tab.select_option("select[name=family]", "primary")
    assert lines(tab).count() == (verdicts.family == "primary").sum()
    tab.fill("input[name=words]", "no such words")
    assert lines(tab).count() == 0


def test_a_column_sorts_by_number_both_ways_and_what_has_none_comes_last(opened):
    tab = opened()
    button = tab.locator("button[data-sort=value]")
    for direction in ("ascending", "descending"):
        button.click()
        assert button.locator("..").get_attribute("aria-sort") == direction
        texts = lines(tab).evaluate_all("all => all.map((line) => line.dataset.value)")
        numbers = [float(text) for text in texts if text]
        assert numbers == sorted(numbers, reverse=direction == "descending")
        assert all(not text for text in texts[len(numbers) :])


def test_the_runs_behind_a_line_open_by_keyboard_and_lead_to_their_records(opened, file, verdicts):
    tab = opened()
    button = tab.locator(".open-runs").first
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    links = tab.locator("tr.runs a")
    names = [name for name in verdicts.runs[0].split() if name != "|"]
    assert links.all_inner_texts() == names
    for link in links.all():
        assert (file.parent / link.get_attribute("href")).is_file()
    tab.keyboard.press("Space")
    assert tab.locator("tr.runs").count() == 0
    assert button.get_attribute("aria-expanded") == "false"


def test_curves_of_a_line_are_drawn_one_per_run(opened, verdicts):
    tab = opened()
    line = tab.locator("#verdict-table tr[data-family=primary]").last
    names = [
        name for name in verdicts[verdicts.family == "primary"].runs.iloc[-1].split() if name != "|"
    ]
    line.locator(".open-runs").click()
    tab.click("text=Show their curves")
    drawn = tab.locator("figure[data-measure=test_top1] [data-mark=line] path")
    assert drawn.count() == len(names)
    assert tab.locator("#h-curves").evaluate("it => it === document.activeElement")

    # a seed less, a row less, one run by its name
    tab.uncheck("#curve-seeds input[value='1']")
    left = [name for name in names if not name.endswith("seed1")]
    assert drawn.count() == len(left) < len(names)
    tab.locator("#curve-legend button").first.click()
    assert drawn.count() == len(left) // 2
    tab.click("#curve-none")
    tab.fill("input[name=run]", names[0])
    tab.press("input[name=run]", "Enter")
    assert drawn.count() == 1
    tab.fill("input[name=run]", "no such run")
    tab.press("input[name=run]", "Enter")
    assert "No run of this study" in tab.locator("#curve-one output").inner_text()


def test_a_column_is_one_plot_and_any_can_be_chosen(opened, file):
    tab = opened()
    measures = data_of(file.read_text())["measures"]
    first = [m["key"] for m in measures if m["shown"]]
    keys = "all => all.map((figure) => figure.dataset.measure)"
    assert tab.locator("#curves-box figure").evaluate_all(keys) == first
    tab.check("#curve-measures input[value=covered]")
    assert "covered" in tab.locator("#curves-box figure").evaluate_all(keys)
    for key in first:
        tab.uncheck(f"#curve-measures input[value={key}]")
    assert tab.locator("#curves-box figure").evaluate_all(keys) == ["covered"]


@pytest.mark.parametrize("by", ["pointer", "keys"])
def test_a_point_of_the_forest_plot_says_its_numbers(opened, file, by):
    tab = opened()
    points = [p for p in data_of(file.read_text())["forest"] if p["value"] is not None]
    plot = tab.locator("#forest-box svg")
    plot.scroll_into_view_if_needed()
    if by == "keys":
        plot.focus()
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("ArrowDown")
        assert tab.locator("#forest-box [role=status]").text_content() == points[1]["text"]
        said = points[1]
    else:
        # the circle of the first comparison
        plot.locator("[data-mark=dot] path").first.hover(force=True)
        said = points[0]
    for words in said["text"].split("\n")[:2]:
        assert words in tip(plot)
    if by == "keys":
        tab.keyboard.press("Escape")
        assert tip(plot) == ""


def test_a_curve_and_the_ladder_are_read_by_keys(opened, file):
    tab = opened()
    data = data_of(file.read_text())
    tab.locator("figure[data-measure=test_top1] svg").focus()
    tab.keyboard.press("ArrowRight")
    row = data["verdicts"][0][0]
    value = data["curves"][row["runs"][0]]["test_top1"][0]
    said = tab.locator("figure[data-measure=test_top1] [role=status]").text_content()
    assert said == f"{row['label']}, seed 0\nepoch 1: {value}"

    tab.check("input[value=best_top1]")
    tab.locator("#ladder-full-box svg").focus()
    tab.keyboard.press("ArrowLeft")
    said = tab.locator("#ladder-full-box [role=status]").text_content()
    assert said == next(p["text"] for p in data["ladder"] if p["measure"] == "best_top1")


def test_pictures_say_what_is_false(opened, file):
    tab = opened()
    strips = next(g["pictures"] for g in data_of(file.read_text())["groups"] if g["pictures"])
    false = sum(p["given"] != p["true"] for s in strips for p in s["most"] + s["least"])
    assert tab.locator("#pictures-box li.false").count() == false > 0
    assert tab.locator("#pictures-box li.false").first.inner_text().startswith("not ")
    loaded = tab.locator("#pictures-box img").evaluate_all(
        "all => all.every((i) => i.naturalWidth)"
    )
    assert loaded


def test_the_switch_and_the_preference_set_the_colours_and_the_choice_is_kept(opened):
    def paper(tab):
        return re.findall(r"\d+", tab.evaluate("getComputedStyle(document.body).backgroundColor"))

    light, dark = opened(color_scheme="light"), opened(color_scheme="dark")
    assert paper(light) == ["255", "255", "255"] != paper(dark)
    light.check("input[name=theme][value=dark]")
    assert paper(light) == paper(dark)
    light.reload()
    assert paper(light) == paper(dark) and light.is_checked("input[value=dark]")
    light.check("input[name=theme][value=auto]")
    assert paper(light) == ["255", "255", "255"]


def test_everything_can_be_reached_by_the_tab_key(opened):
    tab = opened()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    wanted = "a[href], button, select, input:not([type=radio]), summary, svg[tabindex], .scroll"
    unreachable = tab.locator(wanted).evaluate_all(
        "all => all.filter((e) => e.checkVisibility() && e.tabIndex < 0).map((e) => e.outerHTML)"
    )
    assert unreachable == []
