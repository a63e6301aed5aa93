// Elements, words and times. Text is only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties and children; a child that is null, undefined or false is none. */
export function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same, of a drawing. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (name === "width%") node.style.setProperty("width", `${value}%`);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(9).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** The difference of the server's clock to this one, in milliseconds. */
export const clock = { skew: 0, now: () => Date.now() + clock.skew };

/** Seconds since a time; undefined if it is none. */
export function since(time) {
  const at = Date.parse(time ?? "");
  return Number.isNaN(at) ? undefined : (clock.now() - at) / 1000;
}

/** A span of seconds in at most two units. */
export function span(seconds) {
  if (seconds === undefined || seconds === null || Number.isNaN(seconds)) return "";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => s >= size);
  const [unit, size] = units[first];
  const rest = units[first + 1] && s < size * 10 ? Math.floor((s % size) / units[first + 1][1]) : 0;
  return `${Math.floor(s / size)} ${unit}${rest ? ` ${rest} ${units[first + 1][0]}` : ""}`;
}

/** A count with few digits. */
export function count(n) {
  if (n === undefined || n === null) return "";
  const size = Math.abs(n);
  if (size >= 1e9) return `${(n / 1e9).toFixed(1)} G`;
  if (size >= 1e6) return `${(n / 1e6).toFixed(1)} M`;
  if (size >= 1e5) return `${(n / 1e3).toFixed(0)} k`;
  return n.toLocaleString("en");
}

/** A time of day as people read it, in UTC, with the day if it is not today. */
export function moment(time) {
  const at = new Date(Date.parse(time ?? ""));
  if (Number.isNaN(at.getTime())) return "";
  const iso = at.toISOString();
  const today = new Date(clock.now()).toISOString().slice(0, 10);
  return (iso.startsWith(today) ? "" : `${iso.slice(0, 10)} `) + `${iso.slice(11, 19)} UTC`;
}

/** An element whose text goes with the clock. */
export function ticking(tell, props) {
  const node = el("span", { ...props, "data-ticks": "" });
  node.tell = tell;
  node.textContent = tell();
  return node;
}

/** Lets all that goes with the clock go on. */
export function tick() {
  for (const node of document.querySelectorAll("[data-ticks]")) {
    const text = node.tell?.();
    if (text !== undefined && text !== node.textContent) node.textContent = text;
    node.turn?.();
  }
}

/** How long ago something was. */
export function ago(time, props) {
  return ticking(() => { const s = since(time); return s === undefined ? "" : `${span(s)} ago`; }, { title: moment(time), ...props });
}

/** A bar that is full to a share, told in words too. */
export function bar(share, label, kind = "") {
  const percent = Math.min(100, Math.max(0, share * 100));
  return el("div", { class: `meter ${kind}`, role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(percent), "aria-label": label }, el("i", { "width%": percent }));
}

/** How far a step is: what the server says was done, or what the clock says. */
export function share(progress) {
  if (!progress) return undefined;
  if (progress.percent !== undefined) return progress.percent / 100;
  const s = since(progress.since);
  return s === undefined ? undefined : Math.min(1, s / progress.seconds);
}

/** How long it takes yet. */
export function left(progress) {
  if (!progress) return undefined;
  if (progress.percent !== undefined) return progress.etaSeconds;
  const s = since(progress.since);
  return s === undefined ? undefined : Math.max(0, progress.seconds - s);
}

/** What severities are called and look like; the worst first. */
export const SEVERITIES = [
  ["critical", "Critical", "wrong, missing, or far behind"],
  ["stalled", "Stalled", "served; a person is needed to go on"],
  ["warning", "Warning", "older than promised, or nobody knows how old"],
  ["progressing", "Progressing", "work is under way"],
  ["held", "Held", "waits for a person's word, or is paused, pinned or suspended"],
  ["healthy", "Healthy", "as written"],
];

export const RANK = Object.fromEntries(SEVERITIES.map(([key], rank) => [key, rank]));

const SHAPES = {
  critical: "M8 1 15 8 8 15 1 8Z",
  stalled: "M2.5 2.5h11v11h-11Z",
  warning: "M8 2 15 14H1Z",
  progressing: "M4 2 14 8 4 14Z",
  held: "M3 2h3.5v12H3ZM9.5 2H13v12H9.5Z",
  healthy: "M8 2.5a5.5 5.5 0 1 0 .01 0Z",
};

/** The shape of a severity, which says the same as its colour. */
export function glyph(severity, size = 12) {
  const name = SEVERITIES.find(([key]) => key === severity)?.[1] ?? severity;
  return svg("svg", { class: `glyph ${severity}`, viewBox: "0 0 16 16", width: size, height: size, role: "img", "aria-label": name },
    svg("path", { d: SHAPES[severity] ?? SHAPES.held }));
}
