// The list of views. Only the lines that can be seen are in the document, however many there are; lines are kept and filled anew.

import { el, glyph, span, share, left, bar, SEVERITIES } from "./dom.js";
import { spark } from "./draw.js";

const list = document.getElementById("list");
const sizer = document.getElementById("sizer");
const SPARE = 6;

const lines = new Map();
let rows = [];
let chosen = "";
let current = 0;
let choose = () => {};

export const key = (row) => `${row.namespace}/${row.name}`;
const tall = () => (matchMedia("(max-width: 760px)").matches ? 76 : 58);

/** What happens when a line is chosen. */
export function onchoose(then) { choose = then; }

/** Shows these rows, in this order; `selected` is the key of the one whose detail is shown. */
export function render(next, selected) {
  const was = rows[current] && key(rows[current]);
  rows = next;
  chosen = selected;
  const stays = rows.findIndex((row) => key(row) === (was ?? selected));
  current = Math.max(0, Math.min(stays >= 0 ? stays : current, rows.length - 1));
  paint();
}

/** Moves to a line by its number, and brings it into sight. */
export function move(to) {
  if (!rows.length) return;
  current = Math.max(0, Math.min(to, rows.length - 1));
  const top = current * tall();
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + tall() > list.scrollTop + list.clientHeight) list.scrollTop = top + tall() - list.clientHeight;
  paint();
}

/** Moves to a view, if it is shown. */
export function moveTo(name) {
  const at = rows.findIndex((row) => key(row) === name);
  if (at >= 0) move(at);
}

export const step = (by) => move(current + by);
export const page = () => Math.max(1, Math.floor(list.clientHeight / tall()) - 1);
export const last = () => rows.length - 1;
export const enter = () => rows[current] && choose(key(rows[current]), true);

function paint() {
  const height = tall();
  sizer.style.setProperty("height", `${rows.length * height}px`);
  const from = Math.max(0, Math.floor(list.scrollTop / height) - SPARE);
  const to = Math.min(rows.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + SPARE);
  const wanted = new Map();
  for (let i = from; i < to; i += 1) wanted.set(key(rows[i]), i);
  for (const [name, line] of lines) {
    if (!wanted.has(name)) { line.remove(); lines.delete(name); }
  }
  for (const [name, i] of wanted) {
    let line = lines.get(name);
    if (!line) {
      line = el("div", { role: "option", class: "row", id: `view:${name}`, onclick: () => { move(rows.findIndex((row) => key(row) === name)); choose(name, false); } });
      lines.set(name, line);
      sizer.append(line);
    }
    if (line.shown !== rows[i]) { fill(line, rows[i]); line.shown = rows[i]; }
    line.style.setProperty("transform", `translateY(${i * height}px)`);
    line.setAttribute("aria-posinset", i + 1);
    line.setAttribute("aria-setsize", rows.length);
    line.setAttribute("aria-selected", name === chosen);
    line.classList.toggle("current", i === current);
    line.classList.toggle("chosen", name === chosen);
  }
  const now = rows[current] && lines.get(key(rows[current]));
  if (now) list.setAttribute("aria-activedescendant", now.id);
  else list.removeAttribute("aria-activedescendant");
}

function fill(line, row) {
  const word = SEVERITIES.find(([name]) => name === row.severity)?.[1] ?? "";
  const lag = row.lag?.seconds;
  const from = row.source?.topic ?? row.source?.table?.split("/").pop() ?? "no source";
  const done = row.progress;
  const behind = lag === undefined ? "lag not measured" : `lag ${span(lag)}`;
  line.setAttribute("aria-label", `${row.name} in ${row.namespace}: ${word}, ${row.phase}, ${behind}${row.headline ? `. ${row.headline}` : ""}`);
  line.className = `row ${row.severity}`;
  const meter = done ? bar(share(done) ?? 0, `${row.phase}: how far`, "thin") : null;
  if (meter) {
    meter.setAttribute("data-ticks", "");
    meter.turn = () => meter.firstChild.style.setProperty("width", `${(share(done) ?? 0) * 100}%`);
  }
  const rest = left(done);
  line.replaceChildren(
    glyph(row.severity, 13),
    el("div", { class: "who" },
      el("p", { class: "name" }, el("b", { text: row.name }), el("span", { class: "ns", text: row.namespace })),
      row.headline && ["critical", "stalled", "warning"].includes(row.severity)
        ? el("p", { class: "what says", text: row.headline })
        : el("p", { class: "what" }, el("span", { text: from }), el("i", { "aria-hidden": true, text: " → " }), el("span", { text: row.mode ?? "…" }), el("i", { "aria-hidden": true, text: " → " }), el("span", { text: row.architecture ?? "?" }))),
    el("div", { class: "where" },
      el("p", { class: "phase", text: words(row.phase) }),
      !meter && row.severity === "critical" && row.reason && row.reason !== "Healthy" ? el("p", { class: "why", text: words(row.reason) }) : null,
      meter ? el("p", { class: "far" }, meter, el("span", { class: "n", text: rest === undefined ? "" : span(rest) })) : null),
    el("div", { class: "lag" },
      row.lag && row.trail ? spark(row.trail, row.lag, 84, 24, behind) : el("span", { class: "unmeasured", "aria-hidden": true }),
      el("span", { class: `n tier${row.lag?.tier ?? 0}`, title: behind, text: lag === undefined ? "–" : span(lag) })));
}

/** CatchingUp → Catching up. */
export function words(phase) {
  return phase.replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);
}

list.addEventListener("scroll", paint, { passive: true });
new ResizeObserver(paint).observe(list);
