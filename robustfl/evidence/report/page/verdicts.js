/* The table of verdicts: filters, order, and the runs behind each line. */
"use strict";

const TABLE = document.getElementById("verdict-table");
const BODY = TABLE.tBodies[0];
const LINES = [...BODY.rows];
const FORM = document.getElementById("filters");

/** The row below a line that lists its runs; null while it is closed. */
function runsBelow(line) {
  const next = line.nextElementSibling;
  return next && next.classList.contains("runs") ? next : null;
}

function closeRuns(line) {
  runsBelow(line)?.remove();
  line.querySelector(".open-runs").setAttribute("aria-expanded", "false");
}

function openRuns(line) {
  const rows = DATA.verdicts[line.dataset.line];
  const lists = rows.map((row) => element("div", {},
    element("strong", {}, row.label), element("span", { class: "muted" }, ` ${row.group}`),
    element("ul", {}, ...row.runs.map((i) => {
      const run = DATA.runs[i];
      const link = element("a", { href: run.file }, run.name);
      return element("li", {}, link, `: best ${run.best}, last ${run.last}`);
    }))));
  const curves = element("button", { type: "button", click: () => openCurves(rows) }, "Show their curves");
  const cell = element("td", { role: "cell", colspan: line.cells.length }, ...lists, curves);
  line.after(element("tr", { role: "row", class: "runs" }, cell));
  line.querySelector(".open-runs").setAttribute("aria-expanded", "true");
}

function filterLines() {
  const wanted = Object.fromEntries(new FormData(FORM));
  const words = wanted.words.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const line of LINES) {
    const text = line.textContent.toLowerCase();
    const fits = ["claim", "family", "rule", "measure", "outcome"]
      .every((name) => !wanted[name] || line.dataset[name] === wanted[name])
      && words.every((word) => text.includes(word));
    line.hidden = !fits;
    if (!fits) closeRuns(line);
    count += fits;
  }
  document.getElementById("count").textContent = `${count} of ${LINES.length} lines`;
}

/** What a column sorts by: a number where it has one, else the cell's text. */
function sortKey(line, column) {
  const numbers = { value: line.dataset.value, p: line.dataset.p };
  if (column in numbers) return numbers[column] === "" ? Infinity : Number(numbers[column]);
  const at = [...TABLE.tHead.querySelectorAll("button")].findIndex((b) => b.dataset.sort === column);
  const text = line.cells[at].textContent.trim();
  const number = Number.parseFloat(text.replace("−", "-"));
  if (column === "slides" || column === "random") return text === "" ? Infinity : number;
  return text;
}

function sortBy(button) {
  const head = button.closest("th");
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of TABLE.tHead.querySelectorAll("th")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");

  // what has no number comes last either way
  LINES.forEach(closeRuns);
  const keyed = LINES.map((line) => [sortKey(line, button.dataset.sort), line]);
  keyed.sort(([a], [b]) => {
    if (a === Infinity || b === Infinity) return (a === Infinity) - (b === Infinity);
    return (descending ? -1 : 1) * (a < b ? -1 : a > b ? 1 : 0);
  });
  BODY.append(...keyed.map(([, line]) => line));
}

function startVerdicts() {
  FORM.addEventListener("input", filterLines);
  FORM.addEventListener("submit", (event) => event.preventDefault());
  FORM.addEventListener("reset", () => setTimeout(filterLines)); // once the fields are empty
  TABLE.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.sort) sortBy(button);
    if (!button.classList.contains("open-runs")) return;
    const line = button.closest("tr");
    if (runsBelow(line)) closeRuns(line);
    else openRuns(line);
  });
  filterLines();
}

startVerdicts();
