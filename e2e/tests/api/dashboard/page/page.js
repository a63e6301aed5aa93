// Draws a dashboard of Grafana's from what a Prometheus answers: `asked` says which, of which, and of when. `drawn` tells the test of
// each panel how many values it shows, and what of it does not fit.
"use strict";

const { dashboard, prometheus, from, to, step, rate } = asked;
const times = [];
for (let time = from; time <= to; time += step) times.push(time);

async function query(expr) {
  const question = expr.replaceAll("$__rate_interval", rate).replaceAll("$namespace", ".*");
  const body = new URLSearchParams({ query: question, start: from, end: to, step });
  const answer = await (await fetch(`${prometheus}/api/v1/query_range`, { method: "POST", body })).json();
  if (answer.status !== "success") throw new Error(`${question}: ${answer.error}`);
  return answer.data.result;
}

async function series(target) {
  return (await query(target.expr)).map(({ metric, values }) => {
    const known = new Map(values.map(([time, value]) => [time, Number(value)]));
    const name = target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? "");
    return { name, values: times.map((time) => (Number.isFinite(known.get(time)) ? known.get(time) : null)) };
  });
}

/** Text that is wider or higher than what holds it. */
function cut(box) {
  const wide = [...box.querySelectorAll("h3, label, td:first-child, .stat")].filter((e) => e.scrollWidth > e.clientWidth + 1);
  const high = [...box.querySelectorAll(".legend")].filter((e) => e.scrollHeight > e.clientHeight + 1);
  return [...wide, ...high].map((e) => e.textContent);
}

async function draw(section, panel, top) {
  const box = element(section, "div", undefined, "panel");
  const { x, y, w, h } = panel.gridPos;
  box.style.gridArea = `${y - top + 1} / ${x + 1} / span ${h} / span ${w}`;
  element(box, "h3", panel.title).title = panel.description;
  const found = (await Promise.all(panel.targets.map(series))).flat().filter(({ values }) => values.some((value) => value !== null));
  const kind = PANELS[panel.type];
  if (!kind) throw new Error(`panels.js knows no panel ${panel.type}`);
  if (found.length || panel.type === "stat") kind(box, panel, times, found);
  else element(element(box, "div", undefined, "body"), "div", "No data", "none");
  const values = found.reduce((sum, one) => sum + one.values.filter((value) => value !== null).length, 0);
  return { title: panel.title, values, cut: cut(box) };
}

async function board() {
  await document.fonts.load("12px Inter");
  const variables = document.querySelector("#variables");
  for (const { label } of dashboard.templating.list) {
    const variable = element(variables, "span");
    element(variable, "i", label);
    variable.append(label === "Namespace" ? "All" : "Prometheus");
  }
  document.querySelector("#drawn").textContent = `the last ${to - from} s, drawn by the project's tests with uPlot ${asked.uplot}`;
  const told = [];
  let section, top;
  for (const panel of dashboard.panels) {
    if (panel.type === "row") {
      section = element(document.querySelector("#board"), "section", undefined, "row");
      element(section, "h2", panel.title);
      top = panel.gridPos.y;
    } else {
      told.push(draw(section, panel, top));
    }
  }
  return Promise.all(told);
}

/** Shows some rows alone, and says how high the page then is. */
function only(titles) {
  for (const section of document.querySelectorAll("section")) section.hidden = !titles.includes(section.querySelector("h2").textContent);
  return document.body.offsetHeight;
}

let drawn;
board().then((told) => (drawn = told), (problem) => (drawn = { problem: String(problem) }));
