/* The images that the selections of a group pick most and least often. */
"use strict";

function picture(image, selections) {
  const wrong = image.given !== image.true;
  const words = `${wrong ? "not " : ""}${image.given}`;
  return element("li", { class: wrong ? "false" : "true" },
    element("img", { src: `data:image/png;base64,${image.png}`, alt: wrong ? `a ${image.true}` : "", width: 64, height: 64 }),
    words, element("br"), `${image.count} of ${selections}`);
}

function strips(row) {
  const run = DATA.runs[row.run];
  const strip = (words, images) => element("div", {}, element("h4", {}, words),
    element("ul", { class: "strip" }, ...images.map((image) => picture(image, row.selections))));
  return [
    element("h3", {}, row.label, " ", element("a", { class: "muted", href: run.file }, run.name)),
    element("div", { class: "strips" }, strip("Most often", row.most), strip("Least often", row.least)),
  ];
}

function startPictures() {
  const groups = DATA.groups.filter((g) => g.pictures.length);
  const choice = document.getElementById("picture-group");
  const box = document.getElementById("pictures-box");
  if (!groups.length) {
    choice.parentElement.remove();
    box.append("No run of this study selects again and again under label noise.");
    return;
  }
  choice.append(...groups.map((g, i) => element("option", { value: i }, g.title)));
  const show = () => box.replaceChildren(...groups[choice.value].pictures.flatMap(strips));
  choice.addEventListener("change", show);
  show();
}

startPictures();
