// Pages of the documentation, as they are written, shown in the console: as much of Markdown as they use.

import { el } from "./dom.js";

const dialog = document.getElementById("dialog");
const title = document.getElementById("dialog-title");
const body = document.getElementById("dialog-body");
const pages = new Map();
let shown = "reasons";

document.getElementById("dialog-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

/** Shows something over everything else, until Esc. */
export function show(heading, ...content) {
  title.textContent = heading;
  body.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
  body.scrollTop = 0;
  body.focus();
}

/** Shows a section of a page. */
export async function open(page, heading) {
  shown = page;
  try {
    if (!pages.has(page)) {
      const answer = await fetch(`/docs/${page}`);
      if (!answer.ok) throw new Error(`the page ${page} is not here`);
      pages.set(page, await answer.text());
    }
    const lines = section(pages.get(page), heading);
    show(heading ?? page, ...blocks(lines.slice(1)));
  } catch (error) {
    show(heading ?? page, el("p", { text: `It cannot be shown: ${error.message}. The same stands in docs/${page}.md.` }));
  }
}

/** A link to a section of a page. */
export function link(runbook, text) {
  return el("button", { class: "link", type: "button", onclick: () => open(runbook.page, runbook.heading) }, text);
}

const anchor = (heading) => heading.toLowerCase().replace(/[^a-z0-9 -]/g, "").replaceAll(" ", "-");

/** The lines of a section, by its heading or its anchor: to the next heading that is as high. */
function section(text, heading) {
  const lines = text.split("\n");
  if (!heading) return lines;
  const level = (line) => /^(#+) /.exec(line)?.[1].length;
  let fenced = false;
  const heads = lines.map((line) => { if (line.startsWith("```")) fenced = !fenced; return fenced ? undefined : level(line); });
  const name = (line) => line.replace(/^#+ /, "");
  const from = lines.findIndex((line, i) => heads[i] && (name(line) === heading || anchor(name(line)) === heading));
  if (from < 0) return lines;
  const to = lines.findIndex((_, i) => i > from && heads[i] && heads[i] <= heads[from]);
  return lines.slice(from, to < 0 ? undefined : to);
}

function blocks(lines) {
  const out = [];
  let i = 0;
  const take = (is) => { const from = i; while (i < lines.length && is(lines[i])) i += 1; return lines.slice(from, i); };
  while (i < lines.length) {
    const line = lines[i];
    if (line.startsWith("```")) {
      i += 1;
      const code = take((l) => !l.startsWith("```"));
      i += 1;
      if (!/^```mermaid/.test(line)) out.push(el("pre", { tabindex: 0 }, el("code", { text: code.join("\n") })));
    } else if (/^#+ /.test(line)) {
      out.push(el("h3", {}, inline(line.replace(/^#+ /, ""))));
      i += 1;
    } else if (line.trimStart().startsWith("|")) {
      const rows = take((l) => l.trimStart().startsWith("|")).map(cells);
      const [head, , ...rest] = rows;
      out.push(el("div", { class: "wide" }, el("table", {},
        head.some((cell) => cell) ? el("thead", {}, el("tr", {}, head.map((cell) => el("th", { scope: "col" }, inline(cell))))) : null,
        el("tbody", {}, rest.map((row) => el("tr", {}, row.map((cell) => el("td", {}, inline(cell)))))))));
    } else if (/^\s*- /.test(line)) {
      const items = [];
      while (i < lines.length && (/^\s*- /.test(lines[i]) || /^ {2,}\S/.test(lines[i]))) {
        if (/^\s*- /.test(lines[i])) items.push(lines[i].replace(/^\s*- /, ""));
        else items[items.length - 1] += ` ${lines[i].trim()}`;
        i += 1;
      }
      out.push(el("ul", {}, items.map((item) => el("li", {}, inline(item)))));
    } else if (!line.trim()) {
      i += 1;
    } else {
      out.push(el("p", {}, inline(take((l) => l.trim() && !/^(```|#+ |\s*\||\s*- )/.test(l)).join(" "))));
    }
  }
  return out;
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());

/** Code, strong words and links; a link to a page that is here opens it, any other is only its words. */
function inline(text) {
  const out = [];
  const marks = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)]+)\)/g;
  let end = 0;
  for (const mark of text.matchAll(marks)) {
    if (mark.index > end) out.push(text.slice(end, mark.index));
    end = mark.index + mark[0].length;
    if (mark[1] !== undefined) out.push(el("code", { text: mark[1] }));
    else if (mark[2] !== undefined) out.push(el("b", {}, inline(mark[2])));
    else {
      const [, page, to] = /^(?:(?:\.\.\/)?(?:runbooks\/)?([A-Za-z0-9]+)\.md)?(?:#(.*))?$/.exec(mark[4]) ?? [];
      const words = inline(mark[3]);
      if (page || to) out.push(el("button", { class: "link", type: "button", onclick: () => open(page ?? shown, to) }, words));
      else out.push(el("span", {}, words));
    }
  }
  if (end < text.length) out.push(text.slice(end));
  return out;
}
