"use strict";
// Tables: a click on a heading sorts by it, a second click the other way; empty values stay last.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, index) => heading.querySelector("button").addEventListener("click", () => {
    const down = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const key = (row) => row.cells[index].dataset.sort;
    const order = (first, second) => {
      const [one, two] = [key(first), key(second)];
      if (one === "" || two === "") return (one === "") - (two === "");
      const numeric = first.cells[index].classList.contains("number") && second.cells[index].classList.contains("number");
      const sign = numeric ? Number(one) - Number(two) : one.localeCompare(two, "en", { numeric: true });
      return down ? -sign : sign;
    };
    body.append(...[...body.rows].sort(order));
  }));
}
// Charts: the value of the nearest point shows beside the pointer, or where a finger taps.
const tip = document.getElementById("tip");
const REACH_PX = 28;
const hide = () => { tip.hidden = true; };
const show = (event) => {
  let best = null, least = REACH_PX;
  for (const point of event.currentTarget.querySelectorAll(".point")) {
    const box = point.getBoundingClientRect();
    const away = Math.hypot(box.left + box.width / 2 - event.clientX, box.top + box.height / 2 - event.clientY);
    if (away < least) { best = { text: point.dataset.hover, box }; least = away; }
  }
  if (!best) return hide();
  tip.textContent = best.text;
  tip.hidden = false;
  const left = Math.min(best.box.right + 8, innerWidth - tip.offsetWidth - 8);
  const above = best.box.top - tip.offsetHeight - 6;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above > 0 ? above : best.box.bottom + 6) + "px";
};
for (const chart of document.querySelectorAll(".chart")) {
  for (const kind of ["pointermove", "pointerdown"]) chart.addEventListener(kind, show);
  chart.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
}
addEventListener("scroll", hide, { passive: true });
// Print: what is folded away on screen is on paper.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
