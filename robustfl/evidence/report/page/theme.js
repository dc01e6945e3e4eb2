/* The page's numbers, and the switch between light and dark. */
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes and children; texts are text, never markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A checkbox or radio button in its label. */
function tick(attributes, text) {
  return element("label", {}, element("input", attributes), ` ${text}`);
}

function chooseTheme() {
  const root = document.documentElement;
  const show = (name) => { root.style.colorScheme = name === "auto" ? "" : name; };

  // a page that is opened as a file may have no storage
  let kept = "auto";
  try { kept = localStorage.getItem("theme") || "auto"; } catch { /* it is asked for each time */ }
  for (const button of document.querySelectorAll("input[name=theme]")) {
    button.checked = button.value === kept;
    button.addEventListener("change", () => {
      show(button.value);
      try { localStorage.setItem("theme", button.value); } catch { /* as above */ }
    });
  }
  show(kept);
}

chooseTheme();
