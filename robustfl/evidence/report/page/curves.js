/* Curves of any runs side by side: what is chosen, and one plot per column of the records. */
"use strict";

const DASHES = ["", "6 3", "2 3"];
const CHOSEN = new Map(); // key -> {label, group, runs}, in the order they were chosen
const MEASURES_SHOWN = new Set(DATA.measures.filter((m) => m.shown).map((m) => m.key));
const SEEDS_HIDDEN = new Set();

/** Rows of the same runs are the same, whatever group they are found in. */
function keyOf(row) {
  return row.runs.join(" ");
}

function choose(row, on = true) {
  if (on) CHOSEN.set(keyOf(row), row);
  else CHOSEN.delete(keyOf(row));
}

/** The look of the i-th chosen row: eight colours, then the same dashed. */
function lookOf(i) {
  return {
    stroke: COLOURS[i % COLOURS.length],
    dashes: DASHES[Math.floor(i / COLOURS.length) % DASHES.length],
  };
}

/** The points of a chosen row in one column, run by run; epochs without a value are left out. */
function pointsOf(row, measure) {
  return row.runs
    .filter((run) => !SEEDS_HIDDEN.has(DATA.runs[run].seed))
    .flatMap((run) => (DATA.curves[run][measure] || []).map((value, i) => ({
      epoch: i + 1,
      value,
      run,
      text: `${row.label}, seed ${DATA.runs[run].seed}\nepoch ${i + 1}: ${value}`,
    })))
    .filter((point) => point.value !== null);
}

function drawCurves(width, measure) {
  const series = [...CHOSEN.values()].map((row) => pointsOf(row, measure.key));
  const all = series.flat();
  const plot = Plot.plot({
    width,
    height: 300,
    marginLeft: 45,
    marginBottom: 40,
    ariaLabel: `${measure.key} over the epochs`,
    x: { label: "epoch", labelAnchor: "center", labelArrow: "none", domain: [1, d3.max(all, (p) => p.epoch)] },
    y: { label: `${measure.key} (${measure.unit})`, labelArrow: "none", grid: true, nice: true },
    color: { type: "identity" },
    marks: [
      ...series.map((points, i) => Plot.line(points, {
        x: "epoch", y: "value", z: "run", stroke: lookOf(i).stroke,
        strokeDasharray: lookOf(i).dashes, strokeWidth: 1.3, strokeOpacity: 0.85,
      })),
      tip(all, "epoch", "value", 40),
    ],
  });
  return { plot, points: all.map((p) => ({ x: p.epoch, y: p.value, text: p.text })) };
}

/** Draw everything that is chosen: the legend, then a panel per column. */
function showCurves() {
  const entries = [...CHOSEN.values()].map((row, i) => key(
    row.label,
    lookOf(i),
    element("span", { class: "muted" }, row.group ? `, ${row.group}` : ""),
    element("button", { type: "button", "aria-label": `Remove ${row.label}`, click: () => { choose(row, false); refreshCurves(); } }, "×"),
  ));
  document.getElementById("curve-legend").replaceChildren(...entries);

  const panels = DATA.measures.filter((m) => MEASURES_SHOWN.has(m.key)).map((measure) => {
    const box = element("div", { class: "plot" });
    const title = element("figcaption", {}, element("b", {}, measure.key), `: ${measure.meaning}`);
    const none = ![...CHOSEN.values()].some((row) => pointsOf(row, measure.key).length);
    if (none) box.append("None of the runs shown has values of it.");
    return { figure: element("figure", { "data-measure": measure.key }, title, box), box, measure, none };
  });
  document.getElementById("curves-box").replaceChildren(...panels.map((panel) => panel.figure));
  for (const { box, measure, none } of panels) {
    if (!none) place(box, (width) => drawCurves(width, measure));
  }
}

/** The rows of the group that is looked at, ticked where they are shown. */
function showRows() {
  const group = DATA.groups[document.getElementById("curve-group").value];
  document.getElementById("curve-rows").replaceChildren(...group.rows.map((row) => element("li", {}, tick({
    type: "checkbox",
    checked: CHOSEN.has(keyOf(row)),
    change: (event) => { choose(row, event.target.checked); showCurves(); },
  }, row.label))));
}

function refreshCurves() {
  showRows();
  showCurves();
}

/** Show these rows alone and go there; called from the verdicts. */
function openCurves(rows) {
  CHOSEN.clear();
  rows.forEach((row) => choose(row));
  refreshCurves();
  const heading = document.getElementById("h-curves");
  heading.setAttribute("tabindex", "-1");
  heading.focus();
  heading.scrollIntoView();
}

/** Ticks that take a value out of a set or put it in. */
function ticksOf(box, values, set, takenOut) {
  box.append(...values.map(({ value, text }) => tick({
    type: "checkbox",
    value,
    checked: set.has(value) !== takenOut,
    change: (event) => {
      if (event.target.checked !== takenOut) set.add(value);
      else set.delete(value);
      showCurves();
    },
  }, text)));
}

function addOne(event) {
  event.preventDefault();
  const form = event.target;
  const run = DATA.runs.findIndex((r) => r.name === form.elements.run.value.trim());
  form.querySelector("output").textContent = run < 0 ? "No run of this study has that name." : "";
  if (run < 0) return;
  choose({ label: DATA.runs[run].name, group: "", runs: [run] });
  form.reset();
  refreshCurves();
}

function startCurves() {
  const group = document.getElementById("curve-group");
  group.append(...DATA.groups.map((g, i) => element("option", { value: i }, g.title)));
  group.addEventListener("change", showRows);
  document.getElementById("run-names").append(...DATA.runs.map((r) => element("option", { value: r.name })));
  document.getElementById("curve-one").addEventListener("submit", addOne);
  document.getElementById("curve-none").addEventListener("click", () => { CHOSEN.clear(); refreshCurves(); });

  const seeds = [...new Set(DATA.runs.map((r) => r.seed))].sort((a, b) => a - b);
  ticksOf(document.getElementById("curve-seeds"), seeds.map((value) => ({ value, text: value })), SEEDS_HIDDEN, true);
  const columns = DATA.measures.map((m) => ({ value: m.key, text: m.key }));
  ticksOf(document.getElementById("curve-measures"), columns, MEASURES_SHOWN, false);

  // the runs of the first verdict, so that nobody begins with an empty page
  const first = DATA.verdicts[0] || DATA.groups[0].rows.slice(0, 2);
  first.forEach((row) => choose(row));
  const at = DATA.groups.findIndex((g) => g.rows.some((row) => CHOSEN.has(keyOf(row))));
  group.value = Math.max(0, at);
  refreshCurves();
}

startCurves();
