/* The forest plot and the ladder, by Observable Plot. */
"use strict";

const COLOURS = Array.from({ length: 8 }, (_, i) => `var(--c${i})`);
const RULES = {
  exact: { colour: "var(--c1)", symbol: "circle", name: "exact greedy" },
  released: { colour: "var(--c2)", symbol: "square", name: "released rule" },
  "": { colour: "var(--c0)", symbol: "circle", name: "no greedy step" },
};
const UNTESTED = "var(--grey)";
const RANDOM = "var(--c4)";
const ESTIMATE = 4; // radius of a dot, pixels

/** Draw into a box, and again whenever its width changes. draw(width) gives {plot, points}. */
function place(box, draw) {
  let drawn = 0;
  const again = () => {
    const width = Math.floor(box.clientWidth);
    if (width === 0 || width === drawn) return;
    drawn = width;
    const { plot, points } = draw(width);
    box.replaceChildren(plot);
    readByKeys(box, plot, points);
  };
  new ResizeObserver(again).observe(box);
  again();
}

/**
 * Let the arrow keys go through a plot's points as the pointer does, and read each out.
 * points: {x, y, text} in the plot's own units, in the order they are visited.
 */
function readByKeys(box, plot, points) {
  const said = element("div", { class: "hidden", role: "status" });
  box.append(said);
  for (const mark of plot.querySelectorAll("g[aria-label]")) {
    mark.dataset.mark = mark.getAttribute("aria-label"); // a name is of no use without a role
    mark.removeAttribute("aria-label");
  }
  plot.setAttribute("tabindex", "0");
  plot.setAttribute("role", "application");
  plot.setAttribute("aria-roledescription", "plot");
  let at = -1;

  // the library shows and hides its own tip where the pointer of a mouse would be
  const point = (type, place = {}) => {
    plot.dispatchEvent(new PointerEvent(type, { ...place, pointerType: "mouse" }));
  };
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") point("pointerleave");
    if (step === undefined || points.length === 0) return;
    event.preventDefault();
    at = at < 0 ? (step > 0 ? 0 : points.length - 1) : (at + step + points.length) % points.length;

    const frame = plot.getBoundingClientRect();
    const clientX = frame.left + plot.scale("x").apply(points[at].x);
    const clientY = frame.top + plot.scale("y").apply(points[at].y);
    point("pointermove", { clientX, clientY });
    said.textContent = points[at].text;
  });
  plot.addEventListener("blur", () => point("pointerleave"));
}

/** What a point says when the pointer is near it; by keys it is read out from beside the plot. */
function tip(points, x, y, reach) {
  const look = { lineWidth: 30, lineHeight: 1.3, ariaHidden: "true" };
  return Plot.tip(points, Plot.pointer({ x, y, title: "text", maxRadius: reach, ...look }));
}

function marked(point, key) {
  return point[key] !== null && point[key] !== undefined;
}

// the forest plot

/** The claims' words as headings, each comparison on a line of its own below. */
function forestLines(width) {
  const wide = Math.floor(width / 8.5); // bold characters that fit beside each other
  const headings = [];
  const points = [];
  let y = 0;
  for (const point of DATA.forest) {
    if (headings.at(-1)?.says !== point.says) {
      const lines = Math.ceil(point.says.length / wide);
      headings.push({ says: point.says, y: y + (lines - 1) / 2 });
      y += lines;
    }
    points.push({ ...point, y, colour: point.testable ? RULES[point.rule].colour : UNTESTED });
    y += 1;
  }
  return { headings, points, height: y };
}

function drawForest(width) {
  const { headings, points, height } = forestLines(width);
  const shown = points.filter((p) => marked(p, "value"));
  const bounds = points.flatMap((p) => p.bounds.map((bound) => ({ bound, y: p.y })));
  const plot = Plot.plot({
    width,
    height: height * 21 + 60,
    marginLeft: 10,
    marginRight: 10,
    marginBottom: 40,
    ariaLabel: "Forest plot of the primary comparisons",
    x: { label: "difference in best test accuracy (points), 95 % interval", labelAnchor: "center", labelArrow: "none", grid: true, nice: true },
    y: { axis: null, domain: [height - 0.4, -0.6] },
    color: { type: "identity" },
    marks: [
      Plot.ruleX([0], { stroke: "currentColor", strokeOpacity: 0.6 }),
      Plot.text(headings, { frameAnchor: "left", y: "y", text: "says", fontWeight: 600, lineWidth: width / 16, lineHeight: 1.2, stroke: "var(--paper)", strokeWidth: 4, fill: "currentColor" }),
      Plot.ruleY(shown.filter((p) => marked(p, "low")), { y: "y", x1: "low", x2: "high", stroke: "colour", strokeWidth: 2 }),
      Plot.dot(shown, { x: "value", y: "y", fill: "colour", symbol: (p) => RULES[p.rule].symbol, r: ESTIMATE }),
      Plot.link(bounds, { x1: "bound", x2: "bound", y1: (b) => b.y - 0.35, y2: (b) => b.y + 0.35, stroke: "currentColor", strokeWidth: 2 }),
      Plot.dot(points.filter((p) => marked(p, "random")), { x: "random", y: "y", stroke: RANDOM, symbol: "diamond", r: 5, strokeWidth: 1.5 }),
      Plot.dot(points.filter((p) => marked(p, "slides")), { x: "slides", y: "y", stroke: "currentColor", symbol: "times", r: ESTIMATE, strokeWidth: 2 }),
      tip(shown, "value", "y", 200),
    ],
  });
  return { plot, points: shown.map((p) => ({ x: p.value, y: p.y, text: p.text })) };
}

/** A legend of the marks that the forest plot has. */
function forestLegend() {
  const has = (test) => DATA.forest.some(test);
  const entries = Object.entries(RULES)
    .filter(([rule]) => has((p) => p.rule === rule && p.testable))
    .map(([, look]) => key(look.name, { fill: look.colour, symbol: look.symbol }));
  if (has((p) => !p.testable)) entries.push(key("not testable with these runs", { fill: UNTESTED, symbol: "circle" }));
  if (has((p) => marked(p, "slides"))) entries.push(key("the slides", { stroke: "currentColor", symbol: "times" }));
  if (has((p) => marked(p, "random"))) entries.push(key("random subset of the same size", { stroke: RANDOM, symbol: "diamond" }));
  if (has((p) => p.bounds.length)) entries.push(key("claimed bound", { stroke: "currentColor", line: "M10,2V14" }));
  return element("ul", { class: "legend" }, ...entries);
}

/** A legend's entry: a symbol of d3, or a line, and its name. */
function key(name, { fill = "none", stroke = "none", symbol = null, line = "M0,8H20", dashes = "" }, ...more) {
  const shape = { circle: d3.symbolCircle, square: d3.symbolSquare, diamond: d3.symbolDiamond, times: d3.symbolTimes }[symbol];
  const svg = d3.create("svg").attr("width", 20).attr("height", 16).attr("aria-hidden", "true");
  svg.append("path")
    .attr("d", shape ? d3.symbol(shape, 60)() : line)
    .attr("transform", shape ? "translate(10,8)" : null)
    .attr("fill", fill).attr("stroke", stroke).attr("stroke-width", 2).attr("stroke-dasharray", dashes);
  return element("li", {}, svg.node(), name, ...more);
}

// the ladder

/** The rows of the ladder in their order, each with its look; the released rule is dashed. */
function ladderLooks() {
  const rows = [...new Set(DATA.ladder.map((p) => p.row))];
  return new Map(rows.map((row, i) => [row, {
    stroke: COLOURS[i % COLOURS.length],
    dashes: row.endsWith("(released)") ? "5 3" : "",
  }]));
}

function drawLadder(width, against, measure) {
  const looks = ladderLooks();
  const points = DATA.ladder.filter((p) => p.against === against && p.measure === measure);
  const images = [...new Set([...points.map((p) => p.images), 50000])];

  // the slides' difference is of 50,000 images, so it stands there, once a row
  const slides = [...new Map(points.filter((p) => marked(p, "slides")).map((p) => [p.row, p])).values()];
  const plot = Plot.plot({
    width,
    height: 320,
    marginLeft: 45,
    marginRight: 25,
    marginBottom: 40,
    ariaLabel: `The ladder, minus ${against}`,
    x: { type: "log", domain: d3.extent(images), ticks: images, tickFormat: ",", label: "training images", labelAnchor: "center", labelArrow: "none" },
    y: { label: "points of test accuracy", labelArrow: "none", grid: true, nice: true },
    color: { type: "identity" },
    marks: [
      Plot.ruleY([0], { stroke: "currentColor", strokeOpacity: 0.6 }),
      ...[...looks].map(([row, look]) => Plot.line(points.filter((p) => p.row === row), { x: "images", y: "difference", stroke: look.stroke, strokeDasharray: look.dashes })),
      Plot.ruleX(points.filter((p) => marked(p, "low")), { x: "images", y1: "low", y2: "high", stroke: (p) => looks.get(p.row).stroke }),
      Plot.dot(points, { x: "images", y: "difference", fill: (p) => looks.get(p.row).stroke, r: 3.5 }),
      Plot.dot(slides, { x: 50000, y: "slides", stroke: (p) => looks.get(p.row).stroke, symbol: "times", r: 5, strokeWidth: 2 }),
      tip(points, "images", "difference", 60),
    ],
  });
  return { plot, points: points.map((p) => ({ x: p.images, y: p.difference, text: p.text })) };
}

function showLadder() {
  const box = (against) => {
    const old = document.getElementById(`ladder-${against}-box`);
    const made = old.cloneNode(false); // without what watches the old one's width
    old.replaceWith(made);
    return made;
  };
  const measure = document.querySelector("input[name=ladder]:checked").value;
  for (const against of ["random", "full"]) {
    place(box(against), (width) => drawLadder(width, against, measure));
  }
}

function startPlots() {
  const forest = document.getElementById("forest-box");
  if (DATA.forest.length) {
    place(forest, drawForest);
    forest.before(forestLegend());
  }
  if (DATA.ladder.length) {
    showLadder();
    document.getElementById("ladder-measure").addEventListener("change", showLadder);
    const entries = [...ladderLooks()].map(([row, look]) => key(row, look));
    document.getElementById("ladder-legend").append(...entries);
  }
}

startPlots();
