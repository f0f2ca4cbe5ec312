"use strict";

/* Tables: a heading with data-sort becomes a button that sorts by its column; what has no value stays last. */
function cellValue(row, column, kind) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  if (kind === "text") return text.toLowerCase();
  const number = parseFloat(text);
  return Number.isNaN(number) ? null : number;
}

function sortTable(table, heading) {
  const column = heading.cellIndex;
  const kind = heading.dataset.sort;
  const before = heading.getAttribute("aria-sort");
  const direction = before === null ? (kind === "text" ? 1 : -1) : before === "ascending" ? -1 : 1;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [x, y] = [cellValue(a, column, kind), cellValue(b, column, kind)];
    if (x === null || y === null) return (x === null) - (y === null);
    return (x < y ? -1 : x > y ? 1 : 0) * direction;
  });
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}

for (const heading of document.querySelectorAll("table.sortable th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  heading.append(button);
  button.addEventListener("click", () => sortTable(heading.closest("table"), heading));
}

/* Studies: tabs with arrow keys; without this script all studies stand below each other. */
const tabs = [...document.querySelectorAll('[role="tab"]')];

function showStudy(chosen, focus) {
  for (const tab of tabs) {
    const selected = tab === chosen;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !selected;
  }
  if (focus) chosen.focus();
}

tabs.forEach((tab, position) => {
  tab.addEventListener("click", () => showStudy(tab, false));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const target = step ? tabs[(position + step + tabs.length) % tabs.length] : { Home: tabs[0], End: tabs.at(-1) }[event.key];
    if (!target) return;
    event.preventDefault();
    showStudy(target, true);
  });
});

function showTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const panel = target && target.closest('[role="tabpanel"]');
  if (panel && panel.hidden) {
    showStudy(tabs.find((tab) => tab.getAttribute("aria-controls") === panel.id), false);
    target.scrollIntoView();
  }
}

if (tabs.length) showStudy(tabs[0], false);
showTarget();
addEventListener("hashchange", showTarget);

/* Switches: outlines and where the model looked. */
const studies = document.getElementById("studies");
for (const [id, name, when] of [["show-heat", "show-heat", true], ["show-outline", "hide-outline", false]]) {
  const box = document.getElementById(id);
  if (!box) continue;
  const apply = () => studies.classList.toggle(name, box.checked === when);
  box.addEventListener("change", apply);
  apply();
}

/* An anatomy under the pointer or focus lights up on the overview and in the report. */
function light(study, name, title) {
  for (const box of study.querySelectorAll(".box")) box.classList.toggle("on", box.dataset.anatomy === name);
  for (const span of study.querySelectorAll(".report span[data-anatomies]"))
    span.classList.toggle("on", title !== null && span.dataset.anatomies.split("|").includes(title));
}

for (const study of document.querySelectorAll(".study")) {
  for (const element of study.querySelectorAll(".anatomy, .jump a")) {
    const name = element.dataset.anatomy;
    const title = name.replaceAll("_", " ");
    for (const event of ["mouseenter", "focusin"]) element.addEventListener(event, () => light(study, name, title));
    for (const event of ["mouseleave", "focusout"]) element.addEventListener(event, () => light(study, null, null));
  }
}
