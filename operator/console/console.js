// The console: asks for what changed, keeps all views, and shows those that are asked for.

import { el, glyph, clock, tick, count, span, share, left, bar, RANK, SEVERITIES } from "./dom.js";
import * as list from "./list.js";
import * as detail from "./detail.js";
import * as docs from "./docs.js";
import { river } from "./draw.js";

const $ = (id) => document.getElementById(id);
const PERIOD = 2000, HIDDEN_PERIOD = 30000, DETAIL_PERIOD = 15000, PATIENCE = 20000;

const views = new Map();
let houses = [];
let tag = "", listed = false, heard = 0;
let problem, silence;
const shown = { severities: new Set() };
let selected = "", seen, seenAt = 0, lastWidth = 0;

// ---- what is known

async function poll() {
  try {
    const since = tag ? `?since=${encodeURIComponent(tag.replaceAll('"', ""))}` : "";
    const answer = await fetch(`/api/board${since}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE), headers: tag ? { "If-None-Match": tag } : {} });
    const now = Date.parse(answer.headers.get("date") ?? "");
    // The header has whole seconds: only a real difference is taken for one.
    if (!Number.isNaN(now)) clock.skew = Math.abs(now - Date.now()) > 2000 ? now - Date.now() : 0;
    heard = Date.now();
    silence = undefined;
    if (answer.status === 200) take(await answer.json(), answer.headers.get("etag") ?? "");
    else if (answer.status !== 304) throw new Error(`the operator answers ${answer.status}`);
  } catch (error) {
    silence = error.message;
  }
  pulse();
  await look();
}

function take(board, etag) {
  tag = etag;
  listed = board.listed;
  problem = board.problem;
  if (board.whole) views.clear();
  for (const row of board.views) views.set(list.key(row), row);
  for (const [namespace, name] of board.gone) views.delete(`${namespace}/${name}`);
  if (board.architectures) houses = board.architectures;
  draw();
}

/** Asks for the view that is shown, when it changed, or a while after. */
async function look() {
  if (!selected) return;
  const row = views.get(selected);
  if (!row && listed && tag) { if (seen !== "gone") { seen = "gone"; gone(); } return; }
  if (seen === row && Date.now() - seenAt < DETAIL_PERIOD && lastWidth === innerWidth) return;
  const asked = selected;
  try {
    const answer = await fetch(`/api/views/${selected.split("/").map(encodeURIComponent).join("/")}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    const view = await answer.json();
    if (asked !== selected) return;
    if (!answer.ok) throw new Error(view.error ?? `the operator answers ${answer.status}`);
    if (!(seen && typeof seen === "object")) detail.clear();
    [seen, seenAt, lastWidth] = [row, Date.now(), innerWidth];
    // The list may know a lag that was measured since.
    if (row?.lag) view.lag = row.lag;
    detail.render(view, row?.trail);
    document.title = `${view.name} – Featuremill`;
    if (focusNext) { focusNext = false; $("title")?.focus(); }
  } catch (error) {
    if (asked !== selected || (seen && typeof seen === "object")) return;
    detail.clear();
    $("detail").append(el("p", { class: "empty", role: "alert", text: `${selected} cannot be shown: ${error.message}` }));
  }
}

function gone() {
  detail.clear();
  $("detail").append(el("div", { class: "empty" }, el("h2", { text: "There is no such view" }), el("p", {}, el("code", { text: selected }), " was deleted, or its name is another."), el("a", { href: "#/", text: "All views" })));
}

// ---- what is shown

function wanted() {
  const words = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const [namespace, phase, order] = [$("namespace").value, $("phase").value, $("order").value];
  const matches = (row) => words.every((word) => {
    const [, field, value] = /^(ns|phase|mode|arch|topic):(.+)$/.exec(word) ?? [];
    const of = { ns: row.namespace, phase: row.phase, mode: row.mode, arch: row.architecture, topic: row.source?.topic };
    if (field) return (of[field] ?? "").toLowerCase().includes(value);
    return [row.name, row.namespace, row.phase, row.mode, row.architecture, row.source?.topic, row.source?.table, row.active, row.candidate, row.previous, row.reason].some((text) => text?.toLowerCase().includes(word));
  });
  const most = (row) => row.lag?.seconds ?? -1;
  const byName = (a, b) => a.namespace.localeCompare(b.namespace) || a.name.localeCompare(b.name);
  const orders = {
    worst: (a, b) => RANK[a.severity] - RANK[b.severity] || (b.alerts ?? 0) - (a.alerts ?? 0) || most(b) - most(a) || byName(a, b),
    lag: (a, b) => most(b) - most(a) || byName(a, b),
    name: byName,
  };
  const inScope = [...views.values()].filter((row) => (!namespace || row.namespace === namespace) && (!phase || row.phase === phase) && matches(row));
  const rows = inScope.filter((row) => !shown.severities.size || shown.severities.has(row.severity));
  return { inScope, rows: rows.sort(orders[order]) };
}

function draw() {
  options($("namespace"), "All namespaces", [...views.values()].map((row) => row.namespace));
  options($("phase"), "All phases", [...views.values()].map((row) => row.phase));
  const { inScope, rows } = wanted();
  severities(inScope);
  list.render(rows, selected);
  $("list").hidden = !rows.length;
  $("count").textContent = rows.length === views.size ? `${count(views.size)} views` : `${count(rows.length)} of ${count(views.size)} views`;
  $("empty").hidden = rows.length > 0;
  $("board").classList.toggle("bare", !views.size && !selected);
  if (!rows.length) $("empty").replaceChildren(...nothing());
  if (!selected) overview();
}

function options(select, all, values) {
  const sizes = new Map();
  values.forEach((value) => sizes.set(value, (sizes.get(value) ?? 0) + 1));
  const names = [...sizes.keys()].sort();
  const said = JSON.stringify([...sizes].sort());
  if (select.said === said) return;
  const before = select.value;
  select.said = said;
  select.replaceChildren(el("option", { value: "", text: all }), ...names.map((name) => el("option", { value: name, text: `${name} (${sizes.get(name)})` })));
  if (sizes.has(before)) select.value = before;
}

function severities(rows) {
  const sizes = Object.fromEntries(SEVERITIES.map(([key]) => [key, 0]));
  rows.forEach((row) => { sizes[row.severity] += 1; });
  const bar = $("severities");
  const said = JSON.stringify([sizes, [...shown.severities]]);
  if (bar.said === said) return;
  bar.said = said;
  const focused = bar.contains(document.activeElement) ? document.activeElement.dataset.severity : undefined;
  bar.replaceChildren(...SEVERITIES.map(([key, name, means], i) => el("button", {
    type: "button", class: `chip ${key} ${sizes[key] ? "" : "none"}`, "aria-pressed": String(shown.severities.has(key)), title: `${name}: ${means}`, "data-severity": key,
    tabindex: (focused ? focused === key : i === 0) ? 0 : -1, onclick: () => only(key) }, glyph(key, 12), el("b", { text: count(sizes[key]) }), el("span", { text: name }))));
  if (focused) bar.querySelector(`[data-severity="${focused}"]`)?.focus();
}

function only(key) {
  if (shown.severities.has(key)) shown.severities.delete(key);
  else shown.severities.add(key);
  draw();
}

function nothing() {
  if (silence && !heard) return [el("h2", { text: "The operator does not answer" }), el("p", {}, "Is the port-forward still running?"), el("pre", { text: "kubectl -n featuremill-system port-forward deployment/featuremill-operator 8090" })];
  if (!listed) return [el("h2", { text: problem ? "The views cannot be listed" : "Looking at the cluster…" }), problem ? el("p", { text: `${problem}. It is tried again.` }) : null].filter(Boolean);
  if (views.size) return [el("h2", { text: "No view is like that" }), el("p", { text: "Nothing matches the search and the filters." }), el("button", { type: "button", class: "link", onclick: reset, text: "Show all views" })];
  return [el("h2", { text: "No views yet" }), el("p", { text: "Say where Kafka and Redis are with an Architecture, and which features you want with a FeatureView. They show up here as soon as they are applied." }),
    el("pre", { text: "kubectl explain featureview.spec\nkubectl apply -f examples/clickstream" })];
}

function reset() {
  shown.severities.clear();
  for (const id of ["search", "namespace", "phase"]) $(id).value = "";
  draw();
}

function pulse() {
  const s = (Date.now() - heard) / 1000;
  const lost = silence && (s > 5 || !heard);
  $("pulse").textContent = lost ? (heard ? `last heard ${span(s)} ago` : "no answer") : problem ? "API server away" : "live";
  $("pulse").className = `pulse ${lost ? "lost" : problem ? "lost" : "live"}`;
  const text = lost && heard ? `The operator does not answer (${silence}). What is shown is ${span(s)} old. Is the port-forward still running?` : problem && listed ? `${problem}. What is shown may be old; it is tried again.` : "";
  if ($("problem").textContent !== text) $("problem").textContent = text;
  $("problem").hidden = !text;
  if (silence && !heard) draw();
}

let overviewSaid = "";
function overview() {
  const all = [...views.values()];
  const article = $("detail");
  const width = Math.max(280, article.clientWidth - parseFloat(getComputedStyle(article).paddingLeft) * 2);
  const said = `${tag}${width}${listed}`;
  if (overviewSaid === said && article.dataset.overview) return;
  overviewSaid = said;
  detail.clear();
  article.dataset.overview = "yes";
  article.setAttribute("aria-label", "Overview");
  document.title = "Featuremill";
  if (!all.length) return;
  const rolling = all.filter((row) => row.candidate).sort((a, b) => (share(b.progress) ?? -1) - (share(a.progress) ?? -1));
  const alarming = all.filter((row) => row.alerts && RANK[row.severity] <= 2).sort((a, b) => RANK[a.severity] - RANK[b.severity] || b.alerts - a.alerts);
  const line = (row, more) => el("li", {}, el("a", { href: `#/${list.key(row)}` }, glyph(row.severity, 12), el("b", { text: row.name }), el("span", { class: "dim", text: row.namespace })), more);
  article.append(
    el("header", { class: "title" }, el("h2", { id: "title", tabindex: -1, text: "The cluster" }),
      el("p", { class: "sub dim", text: `${count(all.length)} views, ${houses.length} architectures. Choose a view with j and k and Enter, find one with /.` })),
    el("section", {}, el("h3", {}, "Flow", el("span", { class: "aside legend" }, el("span", { class: "fine", text: "views" }), el("span", { class: "bad", text: "with an alert" }))),
      river(all, width, (name) => { $("search").value = name.includes("/") ? `arch:${name.split("/")[1]} ns:${name.split("/")[0]}` : name; draw(); })),
    rolling.length ? el("section", {}, el("h3", {}, "Rollouts under way", el("span", { class: "aside", text: count(rolling.length) })),
      el("ul", { class: "brief" }, rolling.slice(0, 6).map((row) => line(row, el("span", { class: "far" }, el("span", { class: "phase", text: list.words(row.phase) }), bar(share(row.progress) ?? 0, "How far"), el("span", { class: "n", text: left(row.progress) === undefined ? "" : `${span(left(row.progress))} left` })))))) : null,
    alarming.length ? el("section", {}, el("h3", {}, "Worst first", el("span", { class: "aside", text: count(alarming.length) })),
      el("ul", { class: "brief" }, alarming.slice(0, 6).map((row) => line(row, el("span", { class: "says", text: row.headline ?? "" }))))) : null,
    el("section", {}, el("h3", { text: "Architectures" }), el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, ["architecture", "mode", "views", "servers", "store"].map((name) => el("th", { scope: "col", text: name })))),
      el("tbody", {}, houses.slice(0, 12).map((h) => el("tr", {}, el("td", {}, glyph(h.ready ? "healthy" : "warning", 11), " ", el("b", { text: h.name }), " ", el("span", { class: "dim", text: h.namespace }), h.message ? el("p", { class: "says", text: h.message }) : null),
        el("td", { text: h.mode }), el("td", { class: "n", text: `${h.updatedViews === h.views ? "" : `${h.updatedViews} of `}${h.views}` }), el("td", { class: "n", text: `${h.readyServers} of ${h.servers}` }), el("td", {}, el("code", { text: h.store })))))))));
}

// ---- where one is, and the keys

let focusNext = false;
function route() {
  let path = "";
  // What is no address is none of a view.
  try { path = decodeURIComponent(location.hash.replace(/^#\/?/, "")); } catch { /* nothing is chosen */ }
  selected = path.includes("/") ? path : "";
  seen = undefined;
  overviewSaid = "";
  document.body.classList.toggle("open", Boolean(selected));
  detail.clear();
  delete $("detail").dataset.overview;
  $("detail").scrollTop = 0;
  draw();
  if (selected) list.moveTo(selected);
  return look();
}

list.onchoose((name, focus) => {
  focusNext = focus;
  if (selected === name) { if (focus) { focusNext = false; $("title")?.focus(); } } else location.hash = `#/${name}`;
});

const KEYS = [[["j", "k", "↓", "↑"], "next view, view before"], [["Enter"], "open the view"], [["/"], "search; also ns: phase: mode: arch: topic:"], [["1", "…", "6"], "show only critical, stalled, …"], [["g", "G"], "first view, last view"], [["Esc"], "close, go back, clear"], [["?"], "these keys"]];
const help = () => docs.show("Keys", el("dl", { class: "keys" }, KEYS.map(([keys, what]) => el("div", {}, el("dt", {}, keys.map((key) => (key === "…" ? key : el("kbd", { text: key })))), el("dd", { text: what })))),
  el("h3", { text: "Shapes" }), el("dl", { class: "keys" }, SEVERITIES.map(([key, name, means]) => el("div", {}, el("dt", {}, glyph(key, 14), ` ${name}`), el("dd", { text: means })))));

function back() {
  if (selected) { location.hash = "#/"; $("list").focus(); } else reset();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("dialog").open) return;
  const field = event.target.matches("input, select, textarea");
  if (event.target.id === "search") {
    if (event.key === "Escape") { if (event.target.value) { event.target.value = ""; draw(); } event.target.blur(); $("list").focus(); }
    else if (["Enter", "ArrowDown"].includes(event.key)) { $("list").focus(); if (event.key === "Enter") list.enter(); } else return;
    event.preventDefault();
    return;
  }
  if (field) return;
  const bar = $("severities");
  if (bar.contains(event.target) && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    const chips = [...bar.children];
    const next = chips[(chips.indexOf(event.target) + (event.key === "ArrowRight" ? 1 : chips.length - 1)) % chips.length];
    chips.forEach((chip) => chip.setAttribute("tabindex", chip === next ? 0 : -1));
    next.focus();
    return event.preventDefault();
  }
  const inList = event.target === document.body || event.target === $("list");
  const go = (then) => { $("list").focus(); then(); event.preventDefault(); };
  if (event.key === "j") go(() => list.step(1));
  else if (event.key === "k") go(() => list.step(-1));
  else if (event.key === "/") { $("search").focus(); $("search").select(); event.preventDefault(); }
  else if (event.key === "?") help();
  else if (event.key === "Escape") { back(); event.preventDefault(); }
  else if (event.key === "g") go(() => list.move(0));
  else if (event.key === "G") go(() => list.move(list.last()));
  else if (/^[1-6]$/.test(event.key)) only(SEVERITIES[event.key - 1][0]);
  else if (!inList) return;
  else if (event.key === "ArrowDown") go(() => list.step(1));
  else if (event.key === "ArrowUp") go(() => list.step(-1));
  else if (event.key === "PageDown") go(() => list.step(list.page()));
  else if (event.key === "PageUp") go(() => list.step(-list.page()));
  else if (event.key === "Home") go(() => list.move(0));
  else if (event.key === "End") go(() => list.move(list.last()));
  else if (event.key === "Enter") go(() => list.enter());
});

$("search").addEventListener("input", draw);
for (const id of ["namespace", "phase", "order"]) $(id).addEventListener("change", draw);
$("help").addEventListener("click", help);
addEventListener("hashchange", route);
addEventListener("resize", () => { if (selected) look(); else overview(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) again(0); });

let timer;
function again(after) {
  clearTimeout(timer);
  timer = setTimeout(async () => { await poll(); again(document.hidden ? HIDDEN_PERIOD : PERIOD); }, after);
}

await route();
await poll();
setInterval(() => { tick(); pulse(); }, 1000);
again(PERIOD);
