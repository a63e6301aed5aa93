// Drawings: lag over time, scales, histograms, the way of events through a view and through the cluster.

import { svg, clock, count, span } from "./dom.js";

/** Lag over time in steps: it is what it was last measured to be until it is measured again. */
export function spark(trail, lag, width, height, label) {
  const root = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, preserveAspectRatio: "none" });
  const base = height - 2;
  root.append(svg("path", { class: "ground", d: `M0 ${base + 0.5}H${width}` }));
  if (!trail?.length) return root;
  const now = clock.now() / 1000;
  const start = Math.min(trail[0][0], now - 300);
  const top = Math.max(10, ...trail.map(([, value]) => value));
  const x = (at) => Math.min(width - 3, ((at - start) / Math.max(1, now - start)) * (width - 3));
  const y = (value) => base - Math.sqrt(Math.max(0, value) / top) * (height - 6);
  let line = "";
  trail.forEach(([at, value], i) => { line += i ? `H${x(at).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(at).toFixed(1)} ${y(value).toFixed(1)}`; });
  line += `H${width - 3}`;
  const last = trail[trail.length - 1][1];
  // One measurement is no course of anything.
  if (trail.length > 1) root.append(svg("path", { class: "area", d: `${line}V${base}H${x(trail[0][0]).toFixed(1)}Z` }));
  root.append(
    svg("path", { class: "line", d: line }),
    svg("circle", { class: `dot tier${lag?.tier ?? 0}`, cx: width - 3, cy: y(last), r: 2.4 }),
  );
  return root;
}

/** Lag over time, large, with an axis. */
export function chart(trail, lag, width) {
  const height = 96, left = 40, right = 6, floor = height - 18;
  const now = clock.now() / 1000;
  const start = Math.min(trail[0][0], now - 300);
  const top = Math.max(10, ...trail.map(([, value]) => value)) * 1.08;
  const x = (at) => left + ((at - start) / Math.max(1, now - start)) * (width - left - right);
  const y = (value) => floor - (value / top) * (floor - 8);
  const root = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `Lag over the last ${span(now - start)}, now ${span(trail[trail.length - 1][1])}` });
  for (const part of [0, 0.5, 1]) {
    const value = (top / 1.08) * part;
    root.append(svg("path", { class: "grid", d: `M${left} ${y(value).toFixed(1)}H${width - right}` }),
      svg("text", { class: "tick", x: left - 6, y: y(value) + 3.5, "text-anchor": "end", text: span(value) }));
  }
  let line = "";
  trail.forEach(([at, value], i) => { line += i ? `H${x(at).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(at).toFixed(1)} ${y(value).toFixed(1)}`; });
  line += `H${width - right}`;
  root.append(
    svg("path", { class: "area", d: `${line}V${floor}H${x(trail[0][0]).toFixed(1)}Z` }),
    svg("path", { class: "line", d: line }),
    svg("circle", { class: `dot tier${lag?.tier ?? 0}`, cx: width - right, cy: y(trail[trail.length - 1][1]), r: 3.2 }),
    svg("text", { class: "tick", x: left, y: height - 3, text: `${span(now - start)} ago` }),
    svg("text", { class: "tick", x: width - right, y: height - 3, "text-anchor": "end", text: "now" }),
  );
  return root;
}

/** Where a number stands on a scale with marks, such as a PSI between its customary bounds. */
export function scale(value, most, marks, limit, label) {
  const width = 132, height = 22, x = (n) => 4 + (Math.min(n, most) / most) * (width - 8);
  const over = limit !== undefined && value > limit;
  const root = svg("svg", { class: `scale ${over ? "over" : ""}`, viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
    svg("path", { class: "rail", d: `M4 8H${width - 4}` }));
  for (const mark of marks) {
    root.append(svg("path", { class: "mark", d: `M${x(mark)} 4V12` }),
      svg("text", { class: "tick", x: x(mark), y: 21, "text-anchor": "middle", text: String(mark) }));
  }
  if (limit !== undefined) root.append(svg("path", { class: "limit", d: `M${x(limit)} 1V15` }));
  root.append(svg("circle", { class: "value", cx: x(value), cy: 8, r: 4 }));
  return root;
}

/** Two distributions over the same bins: what is served in outline, what would be filled. */
export function histogram(bins, name) {
  const { edges = [], former, candidate } = bins;
  const width = 300, height = 84, floor = height - 16, each = width / former.length;
  const sum = (counts) => Math.max(1, counts.reduce((a, b) => a + b, 0));
  const shares = (counts) => counts.map((n) => n / sum(counts));
  const [old, young] = [shares(former), shares(candidate)];
  const top = Math.max(...old, ...young, 0.01);
  const y = (part) => floor - (part / top) * (floor - 4);
  const root = svg("svg", { class: "histogram", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `Values of ${name}: served and candidate over ${former.length} bins` });
  let outline = `M0 ${floor}`;
  old.forEach((part, i) => {
    root.append(svg("rect", { class: "new", x: i * each + 2, width: Math.max(1, each - 4), y: y(young[i]), height: floor - y(young[i]) }));
    outline += `V${y(part).toFixed(1)}H${((i + 1) * each).toFixed(1)}`;
  });
  root.append(svg("path", { class: "old", d: `${outline}V${floor}` }), svg("path", { class: "rail", d: `M0 ${floor}H${width}` }));
  if (edges.length) {
    root.append(svg("text", { class: "tick", x: 0, y: height - 3, text: edges[0] }),
      svg("text", { class: "tick", x: width, y: height - 3, "text-anchor": "end", text: edges[edges.length - 1] }));
  }
  return root;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(text.length - Math.floor(most / 2))}` : text);

/** The way of events through one view: source, what lays its tiles, its rows by revision, and the server. */
export function flow(view, width) {
  const upright = width < 560;
  const gap = upright ? 34 : Math.max(30, Math.min(56, width * 0.06));
  // Upright there is a lane at the right, for what passes by others.
  const box = upright ? width - 16 : (width - 3 * gap) / 4;
  const tall = 58, between = 14;
  const letters = Math.floor((box - 24) / 7.2);
  const streams = ["Kappa", "Lambda"], batches = ["Batch", "Lambda", "Lakehouse", "Streamhouse"];
  const revisions = view.revisions.length ? view.revisions : [{ role: "Active", revision: "none yet", mode: view.mode, none: true }];
  const mode = view.mode ?? view.house?.mode ?? revisions[0].mode ?? "Kappa";
  const modes = new Set([mode, ...revisions.map((r) => r.mode ?? mode)]);
  const runs = (list) => [...modes].some((m) => list.includes(m));
  const columns = [[], [], [], []];
  const add = (column, id, label, main, more, kind = "") => columns[column].push({ id, label, main, more, kind });

  if (view.source?.topic) add(0, "topic", "topic", view.source.topic, view.house?.log ?? "", "source");
  if (view.source?.table) add(0, "table", "table", view.source.table.replace(/^[a-z0-9]+:\/\//, ""), view.source.tableFormat ?? "", "source");
  if (!columns[0].length) add(0, "none", "source", "not known", "the spec does not read", "ghost");
  if (runs(streams)) {
    const { ready, wanted } = view.workers;
    add(1, "stream", "stream workers", `${ready} of ${wanted} ready`, "lay tiles", ready < wanted ? "amiss" : "");
  }
  if (view.archived || mode === "Lakehouse") add(1, "archive", "archive", "Bronze", "raw records");
  if (runs(batches)) {
    const run = view.lastRun;
    const outcome = run ? (run.outcome === "NothingNew" ? "nothing new" : run.outcome.toLowerCase()) : "no run yet";
    add(1, "batch", "batch runs", outcome, [run ? `no. ${run.generation}` : "", view.schedule?.schedule ?? ""].filter(Boolean).join(" · "), run && ["Failed", "Refused"].includes(run.outcome) ? "amiss" : "");
  }
  for (const r of revisions) {
    const note = r.role === "Active" ? (view.generation ? `generation ${view.generation}` : r.mode ?? mode) : r.role === "Candidate" ? "read by nobody yet" : "kept";
    add(2, r.role, `${r.role.toLowerCase()} rows`, r.revision, note, r.none ? "ghost" : r.role.toLowerCase());
  }
  const house = view.house;
  add(3, "server", "feature server", house ? `${house.readyServers} of ${house.servers} ready` : "not known", house?.name ?? view.architecture ?? "",
    house && house.readyServers < Math.max(1, house.servers) ? "amiss" : "");

  const size = (column) => column.length * tall + (column.length - 1) * between;
  const height = upright
    ? columns.reduce((sum, column) => sum + size(column), 0) + 3 * gap + 4
    : Math.max(...columns.map(size)) + 18;
  const root = svg("svg", { class: "flow", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `From ${columns[0].map((n) => `${n.label} ${n.main}`).join(" and ")} through ${columns[1].map((n) => n.label).join(" and ")} to ${revisions.map((r) => `${r.role} ${r.revision}`).join(", ")} and the feature server` });
  const at = {};
  let down = 2;
  columns.forEach((column, c) => {
    let y = upright ? down : (height - size(column)) / 2;
    for (const node of column) {
      at[node.id] = { ...node, x: upright ? 0 : c * (box + gap), y, column: c };
      y += tall + between;
    }
    down = y - between + gap;
  });

  const edge = (from, to, kind = "", label = "") => {
    const [a, b] = [at[from], at[to]];
    if (!a || !b) return;
    let d, lx, ly;
    if (upright || a.column === b.column) {
      const [x1, y1, y2] = [a.x + box * 0.5, a.y + tall, b.y];
      const passes = y2 - y1 > gap + 4;
      d = passes ? `M${a.x + box} ${a.y + tall / 2}h${kind.includes("pointer") ? 14 : 8}V${b.y + tall / 2}h${kind.includes("pointer") ? -9 : -3}` : `M${x1} ${y1}V${y2 - 5}`;
      [lx, ly] = [passes ? a.x + box + 16 : x1 + 8, (y1 + y2) / 2 + 4];
    } else {
      const [x1, y1, x2, y2] = [a.x + box, a.y + tall / 2, b.x, b.y + tall / 2];
      const bend = (x2 - x1) / 2;
      d = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 5} ${y2}`;
      [lx, ly] = [(x1 + x2) / 2, Math.min(y1, y2) - 8];
    }
    root.append(svg("path", { class: `edge ${kind}`, d, "marker-end": "url(#tip)" }));
    if (label) root.append(svg("text", { class: "edgelabel", x: lx, y: ly, "text-anchor": upright ? "start" : "middle", text: label }));
  };
  root.append(svg("defs", {}, svg("marker", { id: "tip", viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { class: "tip", d: "M0 .5 7 4 0 7.5Z" }))));
  const live = view.phase === "Suspended" ? "still" : "live";
  edge("topic", "stream", live, view.lag?.seconds !== undefined ? span(view.lag.seconds) : "");
  edge("topic", "archive", live);
  edge("archive", "batch", live);
  edge("table", "batch", live);
  if (!at.table && !at.archive) edge("topic", "batch", live);
  for (const r of revisions) {
    const of = r.mode ?? mode;
    const kind = r.role === "Active" ? live : r.role === "Candidate" ? "young" : "old";
    if (streams.includes(of)) edge("stream", r.role, kind);
    if (batches.includes(of)) edge("batch", r.role, kind);
  }
  if (!revisions[0].none) edge("Active", "server", "live pointer");
  for (const node of Object.values(at)) {
    root.append(svg("g", { class: `station ${node.kind}`, transform: `translate(${node.x} ${node.y})` },
      svg("title", { text: `${node.label}: ${node.main}${node.more ? `, ${node.more}` : ""}` }),
      svg("rect", { width: box, height: tall, rx: 8 }),
      svg("text", { class: "label", x: 12, y: 17, text: node.label }),
      svg("text", { class: "main", x: 12, y: 34, text: short(node.main, letters) }),
      svg("text", { class: "more", x: 12, y: 49, text: short(node.more, Math.floor(letters * 1.12)) })));
  }
  return root;
}

/** The cluster as a flow: sources, modes, architectures; as wide as they have views, the troubled ones marked. */
export function river(views, width, choose) {
  const most = 9, rows = [...views];
  const source = (v) => v.source?.topic ?? v.source?.table?.split("/").pop() ?? "not known";
  const keys = [source, (v) => v.mode ?? "no mode yet", (v) => `${v.namespace}/${v.architecture ?? "?"}`];
  const troubled = (v) => ["critical", "stalled", "warning"].includes(v.severity);
  const groups = keys.map((key) => {
    const sizes = new Map();
    for (const v of rows) sizes.set(key(v), (sizes.get(key(v)) ?? 0) + 1);
    const names = [...sizes].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).map(([name]) => name);
    const shown = new Set(names.length > most ? names.slice(0, most - 1) : names);
    const others = `${names.length - shown.size} others`;
    return { of: (v) => (shown.has(key(v)) ? key(v) : others), order: [...shown, ...(names.length > shown.size ? [others] : [])] };
  });
  const gap = 10, bar = 8;
  const widest = (group) => Math.max(...group.order.map((name) => name.length)) * 6.7 + 52;
  const [before, after] = [groups[0], groups[2]].map((group) => Math.max(60, Math.min(190, width * 0.27, widest(group))));
  const height = Math.max(...groups.map((g) => g.order.length)) * 30 + 90;
  const nodes = groups.map((group) => {
    const free = height - 24 - gap * (group.order.length - 1);
    let y = 24;
    const all = new Map();
    for (const name of group.order) {
      const mine = rows.filter((v) => group.of(v) === name);
      const tall = (mine.length / rows.length) * free;
      all.set(name, { name, y, tall, out: y, into: y, bad: mine.filter(troubled).length, count: mine.length });
      y += tall + gap;
    }
    return all;
  });
  const xs = [before, (before + width - after - bar) / 2, width - after - bar];
  const root = svg("svg", { class: "river", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `${rows.length} views from ${nodes[0].size} sources through ${nodes[1].size} modes to ${nodes[2].size} architectures` });
  ["from", "computed as", "served by"].forEach((text, c) => root.append(svg("text", { class: "head", x: [xs[0] + bar, xs[1] + bar / 2, xs[2]][c], y: 10, "text-anchor": ["end", "middle", "start"][c], text })));
  for (const c of [0, 1]) {
    for (const a of groups[c].order) {
      for (const b of groups[c + 1].order) {
        const mine = rows.filter((v) => groups[c].of(v) === a && groups[c + 1].of(v) === b);
        if (!mine.length) continue;
        const [from, to] = [nodes[c].get(a), nodes[c + 1].get(b)];
        const [t1, t2] = [(mine.length / from.count) * from.tall, (mine.length / to.count) * to.tall];
        const [x1, x2] = [xs[c] + bar, xs[c + 1]], bend = (x2 - x1) / 2;
        const ribbon = (part, kind, offset) => {
          const [y1, y2, h1, h2] = [from.out + offset * t1, to.into + offset * t2, t1 * part, t2 * part];
          root.append(svg("path", { class: `ribbon ${kind}`, d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}V${y2 + h2}C${x2 - bend} ${y2 + h2} ${x1 + bend} ${y1 + h1} ${x1} ${y1 + h1}Z` },
            svg("title", { text: `${a} → ${b}: ${mine.length} views${kind ? `, ${mine.filter(troubled).length} troubled` : ""}` })));
        };
        const bad = mine.filter(troubled).length / mine.length;
        if (bad > 0) ribbon(bad, "bad", 0);
        if (bad < 1) ribbon(1 - bad, "", bad);
        from.out += t1;
        to.into += t2;
      }
    }
  }
  nodes.forEach((column, c) => {
    for (const node of column.values()) {
      const side = c === 2 ? xs[c] + bar + 8 : c === 0 ? xs[c] - 8 : xs[c] + bar / 2;
      const anchor = ["end", "middle", "start"][c];
      const middle = node.y + node.tall / 2;
      const letters = Math.floor((c === 1 ? 120 : [before, 0, after][c] - 44) / 6.6);
      root.append(svg("rect", { class: "dam", x: xs[c], y: node.y, width: bar, height: Math.max(1.5, node.tall), rx: 2 }));
      const text = svg("text", { class: `place ${c === 1 ? "mid" : ""}`, x: side, y: middle + 4, "text-anchor": anchor, onclick: () => choose(node.name) },
        svg("title", { text: `${node.name}: ${node.count} views, ${node.bad} troubled` }),
        svg("tspan", { text: short(node.name, letters) }), svg("tspan", { class: "n", text: ` ${count(node.count)}` }));
      root.append(text);
    }
  });
  return root;
}
