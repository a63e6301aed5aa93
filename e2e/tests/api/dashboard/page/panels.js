// The kinds of panel that the dashboard has, drawn from what its JSON says of each.
"use strict";

// Grafana's palette of names by their order.
const PALETTE = ["#73BF69", "#F2CC0C", "#8AB8FF", "#FF780A", "#F2495C", "#5794F2", "#B877D9", "#705DA0", "#37872D", "#FADE2A", "#447EBC", "#C15C17", "#890F02", "#0A437C"];

function element(parent, tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  parent.append(made);
  return made;
}

const alpha = (color, share) => color + Math.round(share * 255).toString(16).padStart(2, "0");
const last = (values) => values.findLast((value) => value !== null);
const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);

/** The colour of a value: that of the last threshold which it reaches. */
function colored(value, steps) {
  return steps.findLast((step) => step.value === null || value >= step.value)?.color;
}

/** What holds for one series: the panel's defaults, and what overrides them. */
function fields(panel, name, index) {
  const custom = { ...panel.fieldConfig.defaults.custom };
  let color = PALETTE[index % PALETTE.length];
  for (const { matcher, properties } of panel.fieldConfig.overrides) {
    if (matcher.id !== "byRegexp") throw new Error(`panels.js knows no matcher ${matcher.id}`);
    if (!new RegExp(matcher.options).test(name)) continue;
    for (const { id, value } of properties) {
      if (id === "color") color = value.fixedColor;
      else if (id.startsWith("custom.")) custom[id.slice(7)] = value;
      else throw new Error(`panels.js knows no property ${id}`);
    }
  }
  return { custom, color };
}

function legend(parent, panel, series) {
  const { displayMode, calcs } = panel.options.legend;
  const named = (of, { name, color }) => {
    element(of, "i").style.background = color;
    of.append(name);
  };
  const box = element(parent, "div", undefined, `legend ${displayMode}`);
  if (displayMode === "list") {
    for (const one of series) named(element(box, "span"), one);
    return box;
  }
  const heads = { lastNotNull: "Last *", max: "Max" };
  const figures = { lastNotNull: last, max: (values) => Math.max(...values.filter((value) => value !== null)) };
  const table = element(box, "table");
  const head = element(table, "tr");
  element(head, "th");
  for (const calc of calcs) element(head, "th", heads[calc]);
  for (const one of series) {
    const line = element(table, "tr");
    named(element(line, "td"), one);
    for (const calc of calcs) element(line, "td", told(figures[calc](one.values), panel.fieldConfig.defaults));
  }
  return box;
}

/** Dashed lines where thresholds begin. */
function thresholds(plot, { thresholds, custom }) {
  if (custom.thresholdsStyle?.mode !== "dashed") return;
  const { ctx, bbox } = plot;
  for (const { value, color } of thresholds.steps) {
    const y = value === null ? NaN : plot.valToPos(value, "y", true);
    if (!(y >= bbox.top && y <= bbox.top + bbox.height)) continue;
    ctx.save();
    ctx.beginPath();
    ctx.setLineDash([10 * devicePixelRatio, 10 * devicePixelRatio]);
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.strokeStyle = color;
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }
}

function timeseries(box, panel, times, given) {
  const { defaults } = panel.fieldConfig;
  const series = given.map((one, index) => ({ ...one, ...fields(panel, one.name, index) }));
  const body = element(box, "div", undefined, "body");
  legend(box, panel, series);
  const stacked = defaults.custom.stacking?.mode === "normal";
  const sums = times.map(() => 0);
  const drawn = series.map(({ values }) => (stacked ? values.map((value, at) => (sums[at] += value ?? 0)) : values));
  const axis = { stroke: "#ccccdc", font: "12px Inter", grid: { stroke: "rgba(240, 250, 255, 0.09)", width: 1 }, ticks: { show: false } };
  const width = document.createElement("canvas").getContext("2d");
  width.font = axis.font;
  const options = {
    width: body.clientWidth,
    height: body.clientHeight,
    padding: [8, 28, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: true }, y: { range: (_, low, high) => bounds(low, high, defaults) } },
    axes: [
      { ...axis, size: 24, gap: 6, space: 90, values: (_, splits) => splits.map(clock) },
      {
        ...axis,
        gap: 8,
        space: 30,
        incrs: defaults.decimals === 0 ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : STEPS[defaults.unit],
        values: (_, splits) => ticks(splits, defaults),
        size: (_, values) => Math.max(...(values ?? [""]).map((text) => width.measureText(text).width)) + 16,
      },
    ],
    series: [{}].concat(
      series.map(({ name, color, custom }) => ({
        label: name,
        stroke: color,
        width: custom.lineWidth,
        fill: custom.fillOpacity ? alpha(color, custom.fillOpacity / 100) : undefined,
        dash: custom.lineStyle?.fill === "dash" ? custom.lineStyle.dash : undefined,
        spanGaps: custom.spanNulls,
        points: { show: times.length < 2 },
      })),
    ),
    bands: stacked ? series.slice(1).map((_, index) => ({ series: [index + 2, index + 1] })) : [],
    hooks: { draw: [(plot) => thresholds(plot, defaults)] },
  };
  new uPlot(options, [times, ...drawn], body);
}

/** From where to where the axis of values goes. */
function bounds(low, high, { min, max }) {
  if (low === null) return [min ?? 0, max ?? 1];
  const from = min ?? low;
  if (high <= from) return [from, max ?? from + 1];
  const [padded, top] = uPlot.rangeNum(from, high, 0.1, true);
  return [min ?? padded, max ?? top];
}

function stat(box, panel, _times, series) {
  const { defaults } = panel.fieldConfig;
  const { colorMode, graphMode } = panel.options;
  const values = series[0]?.values ?? [];
  const value = last(values) ?? null;
  const color = colored(value ?? -Infinity, defaults.thresholds.steps);
  const solid = colorMode === "background_solid";
  if (solid) box.style.background = color;
  const ink = solid ? (color === "#F2CC0C" ? "#111217" : "#fff") : color;
  if (solid) box.style.color = ink;
  const body = element(box, "div", undefined, "body");
  const known = values.filter((one) => one !== null);
  if (graphMode === "area" && known.length > 1) body.append(area(known, ink));
  const shown = element(body, "div", undefined, "stat");
  const [number, unit] = value === null ? [defaults.noValue, ""] : parts(value, defaults);
  shown.style.color = ink;
  shown.style.fontSize = `${Math.min(body.clientHeight * 0.44, 48)}px`;
  shown.append(number);
  if (unit) element(shown, "small", unit.trim());
}

/** A line of values over a pale area, as wide as the panel. */
function area(values, color) {
  const [low, high] = [Math.min(0, ...values), Math.max(...values)];
  const at = (value, index) => `${(index / (values.length - 1)) * 100} ${38 - ((value - low) / (high - low || 1)) * 34}`;
  const line = `M${values.map(at).join("L")}`;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 40");
  svg.setAttribute("preserveAspectRatio", "none");
  for (const [d, fill, stroke] of [[`${line}L100 40L0 40Z`, alpha(color.length === 4 ? "#ffffff" : color, 0.2), "none"], [line, "none", color]]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [name, value] of Object.entries({ d, fill, stroke, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" })) path.setAttribute(name, value);
    svg.append(path);
  }
  return svg;
}

function stateTimeline(box, panel, times, series) {
  const body = element(box, "div", undefined, "body");
  const states = panel.fieldConfig.defaults.mappings[0].options;
  const lanes = element(body, "div", undefined, "state");
  const [start, length] = [times[0], times.at(-1) - times[0]];
  const place = (time) => ((time - start) / length) * 100;
  for (const { name, values } of series) {
    const line = element(lanes, "div");
    element(line, "label", name);
    const lane = element(line, "div", undefined, "lane");
    for (let from = 0; from < values.length; ) {
      let to = from;
      while (to < values.length && values[to] === values[from]) to += 1;
      if (values[from] !== null) {
        const state = states[values[from]];
        const block = element(lane, "div", state.text);
        const end = Math.min(100, place(times[Math.min(to, times.length - 1)]));
        Object.assign(block.style, { left: `${place(times[from])}%`, width: `${end - place(times[from])}%`, background: alpha(state.color, 0.85) });
        if (state.color === "#F2CC0C") block.style.color = "#111217";
      }
      from = to;
    }
  }
  const step = [5, 10, 15, 30, 60, 120].find((seconds) => length / seconds <= 7);
  const inner = body.clientWidth - 182;
  for (let time = Math.ceil(start / step) * step; time <= times.at(-1); time += step) {
    // One that would stand over the edge is left out.
    if (place(time) > 95) continue;
    element(body, "time", clock(time)).style.left = `${170 + (place(time) / 100) * inner}px`;
  }
  const seen = new Set(series.flatMap(({ values }) => values).filter((value) => value !== null));
  const shown = Object.keys(states).filter((value) => seen.has(Number(value))).map((value) => states[value]);
  shown.sort((one, other) => one.index - other.index);
  legend(box, panel, shown.map(({ text, color }) => ({ name: text, color, values: [] })));
}

const PANELS = { timeseries, stat, "state-timeline": stateTimeline };
