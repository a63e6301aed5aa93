// One view, whole: what is amiss first, then the way of its events, its rollout, its lag, its batch runs, and what it is.

import { el, svg, glyph, span, count, moment, ago, ticking, since, bar, share, left } from "./dom.js";
import { flow, chart, scale, histogram } from "./draw.js";
import { link } from "./docs.js";
import { words } from "./list.js";

const article = document.getElementById("detail");
const sections = new Map();

/** Shows nothing, before something else is shown. */
export function clear() {
  sections.clear();
  article.replaceChildren();
}

/** Shows a view; parts that did not change stay as they are. */
export function render(view, trail) {
  const width = Math.max(260, article.clientWidth - parseFloat(getComputedStyle(article).paddingLeft) * 2);
  article.setAttribute("aria-label", `View ${view.namespace}/${view.name}`);
  put("head", [view.name, view.namespace, view.severity, view.phase, view.headline], () => head(view));
  put("alerts", view.alerts, () => alerts(view));
  put("flow", [view.revisions, view.workers, view.house, view.source, view.lag, view.lastRun, view.generation, view.phase, width], () =>
    section("Flow", null, flow(view, width)));
  put("rollout", [view.rollout, view.phase, view.candidate, view.previous, view.active], () => rollout(view));
  put("comparison", [view.rollout?.comparison, view.rollout?.maxPsi, width], () => comparison(view));
  put("lag", [view.lag, trail, view.targets, width], () => lag(view, trail, width));
  put("generations", [view.generation, view.horizon, view.previousGeneration, view.lastRun, view.schedule], () => generations(view));
  put("features", [view.features, view.entity, view.rowBytes], () => features(view));
  put("conditions", view.conditions, () => conditions(view));
  put("events", [view.events, view.eventsProblem], () => events(view));
}

function put(name, state, make) {
  const said = JSON.stringify(state ?? null);
  const known = sections.get(name);
  if (known?.said === said) return;
  const node = make() ?? el("section", { hidden: true });
  node.dataset.section = name;
  if (known) known.node.replaceWith(node);
  else article.append(node);
  sections.set(name, { said, node });
}

function section(title, aside, ...content) {
  return el("section", {}, el("h3", {}, title, aside ? el("span", { class: "aside" }, aside) : null), content);
}

function head(view) {
  return el("header", { class: "title" },
    el("a", { class: "back", href: "#/" }, "← All views"),
    el("h2", { tabindex: -1, id: "title" }, glyph(view.severity, 17), el("span", { text: view.name }), el("small", { text: view.namespace })),
    el("p", { class: "sub" }, el("span", { class: `pill ${view.severity}`, text: words(view.phase) }),
      el("span", { text: [view.mode, view.architecture].filter(Boolean).join(" · ") }),
      view.created ? ago(view.created, { class: "dim" }) : null,
      el("code", { class: "command", text: `kubectl -n ${view.namespace} describe fv ${view.name}` })),
    view.headline && !view.alerts?.length ? el("p", { class: "headline", text: view.headline }) : null);
}

const TIERS = ["", "critical", "warning", "held"];

function alerts(view) {
  if (!view.alerts?.length) return null;
  return el("section", { class: "alerts", "aria-label": "Alerts" }, view.alerts.map((alert) =>
    el("div", { class: `alert ${TIERS[alert.tier]}` },
      glyph(TIERS[alert.tier], 14),
      el("div", {},
        el("p", { class: "top" }, el("b", { text: alert.title }), el("span", { class: "tag", text: `tier ${alert.tier}` }), el("code", { text: alert.reason })),
        el("p", { text: alert.message })),
      alert.runbook ? link(alert.runbook, "Runbook") : null)));
}

const STEPS = [["Replaying", "Replay"], ["CatchingUp", "Catch up"], ["Comparing", "Compare"], ["Promoting", "Promote"], ["Soaking", "Soak"], ["Live", "Live"]];
const STOOD = { ComparisonFailed: "Comparing", AwaitingPromotion: "Promoting", RollingBack: "Soaking", RolledBack: "Soaking", Retiring: "Soaking", Pinned: "Live", Suspended: "Live" };

function rollout(view) {
  const r = view.rollout;
  if (!r || !view.active) return null;
  const failed = ["ComparisonFailed", "Aborted", "Invalid", "Unavailable"].includes(view.phase);
  const waits = ["AwaitingPromotion", "Paused", "AwaitingMigration"].includes(view.phase);
  let at = STOOD[view.phase] ?? view.phase;
  if (view.phase === "Aborted") at = { ComparisonFailed: "Comparing", ReplayFailed: "Replaying" }[r.aborted] ?? "CatchingUp";
  if (view.phase === "Paused" || !STEPS.some(([key]) => key === at)) at = r.replay && !r.replay.completed ? "Replaying" : r.caughtUp ? "Comparing" : view.candidate ? "CatchingUp" : view.previous ? "Soaking" : "Live";
  const stream = view.mode !== "Batch" && view.mode !== "Lakehouse";
  const steps = STEPS.filter(([key]) => (key !== "Replaying" || stream) && (key !== "Comparing" || r.compares));
  const place = steps.findIndex(([key]) => key === at);
  const track = el("ol", { class: "track", "aria-label": "Steps of the rollout" }, steps.map(([, name], i) => {
    const kind = i < place || (i === place && at === "Live") ? "done" : i === place ? (failed ? "failed" : waits ? "waits" : "now") : "";
    const mark = { done: "M3.500 8.500 7 12l6-8", failed: "M4 4l8 8M12 4l-8 8", waits: "M6 4v8M10 4v8" }[kind];
    return el("li", { class: kind, "aria-current": i === place ? "step" : undefined },
      svg("svg", { viewBox: "0 0 16 16", width: 22, height: 22, "aria-hidden": true }, svg("circle", { cx: 8, cy: 8, r: 7.3 }), mark ? svg("path", { d: mark }) : kind === "now" ? svg("circle", { class: "core", cx: 8, cy: 8, r: 3.2 }) : null),
      el("span", { text: name }), kind === "failed" ? el("em", { text: "stopped" }) : kind === "waits" ? el("em", { text: "waits" }) : null);
  }));
  // Nothing is under way, and nothing stopped on the way.
  const rests = at === "Live" && !failed && !waits;
  const facts = [];
  const fact = (name, ...value) => facts.push(el("div", {}, el("dt", { text: name }), el("dd", {}, value)));
  if (r.replay && view.candidate) {
    const p = r.replay;
    const done = p.completed ? 1 : (p.percent ?? 0) / 100;
    fact(`Replay of ${count(p.records)} records, ${p.partitions} partitions`, bar(done, "Replay"),
      el("span", { class: "n" }, p.completed ? ["read, ", ago(p.completed)] : p.percent === undefined ? "not begun" : `${p.percent} %${p.recordsPerSecond ? ` · ${count(p.recordsPerSecond)} records/s` : ""}${p.etaSeconds !== undefined ? ` · ${span(p.etaSeconds)} left` : ""}`));
  }
  if (view.candidate && r.caughtUp && view.phase === "CatchingUp") fact("Caught up without a break", moving({ since: r.caughtUp, seconds: r.stableForSeconds }), ticking(() => `${span(since(r.caughtUp))} of ${span(r.stableForSeconds)}`, { class: "n" }));
  if (view.candidate && r.started) fact("Deadline", moving({ since: r.started, seconds: r.deadlineSeconds }, "quiet"), ticking(() => `${span(left({ since: r.started, seconds: r.deadlineSeconds }))} left`, { class: "n" }));
  if (view.previous && r.promoted) fact(r.rolledBack ? "Kept to move forward again" : "Soak", moving({ since: r.promoted, seconds: r.soakSeconds }), r.paused ? el("span", { class: "n", text: "held while paused" }) : ticking(() => `${span(left({ since: r.promoted, seconds: r.soakSeconds }))} left`, { class: "n" }));
  const aside = [r.paused ? "paused" : null, r.pinned ? `pinned to ${r.pinned}` : null, r.automatic ? null : "promoted by hand", r.promoted ? `${view.active} serves since ${moment(r.promoted)}` : null].filter(Boolean).join(" · ");
  return section("Rollout", aside, rests ? el("p", { class: "dim", text: "One revision, and none on its way." }) : track, facts.length ? el("dl", { class: "facts" }, facts) : null);
}

function moving(progress, kind) {
  const meter = bar(share(progress) ?? 0, "Time gone", kind);
  meter.setAttribute("data-ticks", "");
  meter.turn = () => meter.firstChild.style.setProperty("width", `${(share(progress) ?? 0) * 100}%`);
  return meter;
}

const VERDICTS = { Passed: "healthy", Failed: "stalled", Inconclusive: "held" };

function comparison(view) {
  const c = view.rollout?.comparison;
  if (!c) return null;
  const psi = view.rollout.maxPsi === undefined ? undefined : Number(view.rollout.maxPsi);
  const different = c.differences ?? [];
  const rows = different.map((d) => el("div", { class: "difference" },
    el("div", { class: "feature" }, el("b", { text: d.name }), el("span", { class: "tag", text: d.kind.toLowerCase() }), el("span", { class: "dim", text: `${count(d.checked)} compared` })),
    el("div", { class: "equal" }, bar(Number(d.equal), `Share of equal values of ${d.name}`, "equals"), el("span", { class: "n", text: `${(Number(d.equal) * 100).toFixed(2)} % equal` })),
    el("div", { class: "shift" },
      d.psi !== undefined ? el("span", {}, el("span", { class: "dim", text: "PSI" }), scale(Number(d.psi), 0.5, [0.1, 0.25], d.kind === "Expected" ? psi : undefined, `Population stability index ${d.psi}`), el("span", { class: "n", text: d.psi })) : el("span", { class: "dim", text: "PSI not measured" }),
      d.ks !== undefined ? el("span", {}, el("span", { class: "dim", text: "KS" }), scale(Number(d.ks), 1, [0.5], undefined, `Kolmogorov and Smirnov's statistic ${d.ks}`), el("span", { class: "n", text: d.ks })) : null),
    d.histogram?.former?.length ? el("div", { class: "bins" }, histogram(d.histogram, d.name), el("p", { class: "legend" }, el("span", { class: "old", text: `served ${c.former}` }), el("span", { class: "new", text: `candidate ${c.candidate}` }))) : null,
    d.examples?.length ? el("table", { class: "examples" }, el("caption", { class: "dim", text: "entities, by the hash of their keys" }),
      el("tbody", {}, d.examples.map((e) => el("tr", {}, el("td", {}, el("code", { text: `#${e.entity}` })), el("td", { class: "was", text: e.former }), el("td", { class: "to", "aria-label": "would be", text: "→" }), el("td", { class: "is", text: e.candidate }))))) : null));
  return section("Comparison", `${count(c.entities)} entities as of ${moment(c.asOf)}`,
    el("p", { class: "verdict" }, glyph(VERDICTS[c.verdict] ?? "held", 13), el("b", { text: c.verdict === "Inconclusive" ? "No verdict" : c.verdict }),
      el("code", { text: c.former }), "→", el("code", { text: c.candidate })),
    c.message ? el("p", { class: "message", text: c.message }) : null,
    rows.length ? rows : el("p", { class: "dim", text: "No feature that both revisions have differs for any entity." }));
}

function lag(view, trail, width) {
  const l = view.lag;
  if (!l) return section("Lag", null, el("p", { class: "dim", text: view.source?.topic ? "Not measured. " : "Not measured: the view reads no topic." }));
  const numbers = [];
  const number = (name, value, kind = "") => value !== undefined && value !== "" && numbers.push(el("div", { class: kind }, el("dt", { text: name }), el("dd", { text: value })));
  number("behind", l.seconds === undefined ? undefined : span(l.seconds), `tier${l.tier ?? 0}`);
  number("records to read", l.records === undefined ? undefined : count(l.records));
  number("read off, a second", l.drainedPerSecond === undefined ? undefined : count(l.drainedPerSecond));
  number("nothing left in", l.etaSeconds === undefined ? undefined : span(l.etaSeconds));
  number("promised", view.targets ? span(view.targets[0]) : undefined);
  number("tier", l.tier === undefined ? "none" : String(l.tier), `tier${l.tier ?? 0}`);
  return section("Lag", l.measuredTime ? ["measured ", ago(l.measuredTime)] : null,
    l.brokenPartitions ? el("p", { class: "message" }, glyph("critical", 12), ` Partitions ${l.brokenPartitions.join(", ")} cannot be read on: what was not read is gone, or the topic was made anew.`) : null,
    l.stalledPartitions ? el("p", { class: "message" }, glyph("warning", 12), ` Partitions ${l.stalledPartitions.join(", ")} stand still while others are read.`) : null,
    l.stopped ? el("p", { class: "message" }, glyph("critical", 12), " There are records, and none is read.") : null,
    el("dl", { class: "numbers" }, numbers),
    trail?.length ? chart(trail, l, width) : el("p", { class: "dim", text: "Nothing has been seen of it yet that a line could be drawn through." }));
}

const OUTCOMES = { Published: "healthy", NothingNew: "held", Refused: "stalled", Failed: "critical" };

function generations(view) {
  if (view.generation === undefined && !view.lastRun && !view.schedule) return null;
  const run = view.lastRun, before = view.previousGeneration;
  const rows = [];
  if (run && run.generation !== view.generation) rows.push([OUTCOMES[run.outcome], run.outcome === "NothingNew" ? "nothing new" : run.outcome.toLowerCase(), run.generation, run.revision, "", run]);
  if (view.generation !== undefined) rows.push(["healthy", "served", view.generation, view.active, view.horizon, run?.generation === view.generation ? run : undefined]);
  if (before) rows.push(["held", "before", before.generation, before.revision, before.horizon]);
  return section("Generations", view.schedule ? `${view.schedule.schedule}${view.schedule.timeZone ? ` ${view.schedule.timeZone}` : ""}` : null,
    rows.length ? el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, ["", "generation", "revision", "complete up to", "entities", "took"].map((name) => el("th", { scope: "col", text: name })))),
      el("tbody", {}, rows.map(([kind, word, number, revision, horizon, made]) => el("tr", {},
        el("td", {}, glyph(kind, 11), ` ${word}`), el("td", { class: "n", text: number }), el("td", {}, el("code", { text: revision ?? "" })),
        el("td", {}, horizon ? [moment(horizon), " ", ago(horizon, { class: "dim" })] : "–"),
        el("td", { class: "n", text: made ? count(made.rows) : "" }),
        el("td", { class: "n", text: made ? span((Date.parse(made.finished) - Date.parse(made.started)) / 1000) : "" })))))) : el("p", { class: "dim", text: "No run has published yet." }),
    run?.message ? el("p", { class: "message", text: run.message }) : null);
}

function features(view) {
  if (!view.features?.length) return null;
  return section("Features", `of ${view.entity.join(", ")}${view.rowBytes ? ` · about ${count(view.rowBytes)} B a busy row` : ""}`,
    el("dl", { class: "features" }, view.features.map((f) => el("div", {}, el("dt", {}, el("code", { text: f.name })), el("dd", { text: f.definition })))));
}

const GOOD = { Stalled: "False", Reconciling: "False", ScalingLimited: "False" };

function conditions(view) {
  if (!view.conditions?.length) return section("Conditions", null, el("p", { class: "dim", text: "None yet: no operator has looked at this view. Is one running, and does it work in this namespace?" }));
  return section("Conditions", null, el("ul", { class: "conditions" }, view.conditions.map((c) => {
    const good = c.status === (GOOD[c.type] ?? "True");
    const mild = c.status === "Unknown" || ["Reconciling", "RollbackAvailable"].includes(c.type);
    return el("li", {}, glyph(good ? "healthy" : mild ? "held" : "warning", 11),
      el("div", {}, el("p", { class: "top" }, el("b", { text: c.type }), el("span", { class: "tag", text: c.status }), el("code", { text: c.reason }), ago(c.lastTransitionTime, { class: "dim" })),
        c.message ? el("p", { text: c.message }) : null));
  })));
}

function events(view) {
  if (view.eventsProblem) return section("Events", null, el("p", { class: "dim", text: `Not shown: ${view.eventsProblem}.` }));
  if (!view.events) return null;
  if (!view.events.length) return section("Events", null, el("p", { class: "dim", text: "None that the API server still has; it keeps them for an hour." }));
  return section("Events", null, el("ul", { class: "conditions" }, view.events.map((e) => el("li", {}, glyph(e.warning ? "warning" : "healthy", 11),
    el("div", {}, el("p", { class: "top" }, el("b", { text: e.reason }), e.count > 1 ? el("span", { class: "tag", text: `${e.count} times` }) : null, ago(e.at, { class: "dim" })), el("p", { text: e.note }))))));
}
