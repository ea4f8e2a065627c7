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
// Charts: the value of the nearest point shows beside the pointer, where a finger taps, or by the arrow keys.
const tip = document.getElementById("tip");
const REACH_PX = 28;
const hide = () => { tip.hidden = true; };
const show = (point) => {
  if (!point) return hide();
  const box = point.getBoundingClientRect();
  tip.textContent = point.dataset.hover;
  tip.hidden = false;
  const left = Math.min(box.right + 8, innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above > 0 ? above : box.bottom + 6) + "px";
};
const nearest = (event) => {
  let best = null, least = REACH_PX;
  for (const point of event.currentTarget.querySelectorAll(".point")) {
    const box = point.getBoundingClientRect();
    const away = Math.hypot(box.left + box.width / 2 - event.clientX, box.top + box.height / 2 - event.clientY);
    if (away < least) { best = point; least = away; }
  }
  return best;
};
const step = (points, shown, key) => {
  const last = points.length - 1, move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
  if (move) return shown < 0 ? (move > 0 ? 0 : last) : Math.min(last, Math.max(0, shown + move));
  return { Home: 0, End: last }[key];
};
for (const chart of document.querySelectorAll(".chart")) {
  const points = [...chart.querySelectorAll(".point")];
  let shown = -1;
  for (const kind of ["pointermove", "pointerdown"]) chart.addEventListener(kind, (event) => show(nearest(event)));
  chart.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") hide(); });
  chart.addEventListener("blur", () => { shown = -1; hide(); });
  chart.addEventListener("keydown", (event) => {
    const next = step(points, shown, event.key);
    if (next === undefined || !points.length) return hide();
    event.preventDefault();
    shown = next;
    points[shown].scrollIntoView({ block: "nearest", inline: "nearest" });
    show(points[shown]);
  });
}
addEventListener("wheel", hide, { passive: true });
addEventListener("touchmove", hide, { passive: true });
// Print: what is folded away on screen is on paper.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
