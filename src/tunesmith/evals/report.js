"use strict";
// Draws the page of an evaluation. What comes from rows and answers goes in as text and attributes, never as HTML.

const report = JSON.parse(document.getElementById("report").textContent);
const $ = id => document.getElementById(id);
const voices = Object.keys(report.summary), last = voices[voices.length - 1];
const judged = report.criterion === "pass all assertions";
const STEP = 25;  // rows that are drawn at once
const KINDS = [["all", "All", "a"], ["fixed", "Fixed", "f"], ["broken", "Broken", "b"], ["failed", "Failing", "x"]];
const PARTS = [["fixed", "Fixed", "--good"], ["good", "Unchanged, good", "--good-2"], ["bad", "Unchanged, bad", "--bad-2"], ["broken", "Broken", "--bad"]];
const state = {kind: "all", pair: report.comparisons.length - 1, drawn: STEP};

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const color = voice => `var(--v${voices.length === 1 ? 1 : {base: 0, baseline: voices.includes("base") ? 2 : 0}[voice] ?? 1})`;
const percent = value => `${Math.round(100 * value)}%`;
const good = answer => judged ? !Object.keys(answer.failed).length : answer.exact;
const pair = () => report.comparisons[state.pair];

function key(name, fill, square) {
  const mark = el("i");
  mark.style.background = fill;
  return el("span", {class: square ? "key square" : "key"}, mark, name);
}

function drawHead() {
  $("title").textContent = report.title;
  document.title = report.title;
  $("verdicts").append(...report.comparisons.map(item => el("p", {class: `card said ${item.verdict}`}, item.sentence)));
  const facts = [["Rows", report.rows.length]];
  for (const voice of report.rows.length ? voices : []) {
    const rate = report.summary[voice].pass_rate;
    facts.push([`${voice}: ${judged ? "pass all" : "exact"}`, percent(rate.value), ` ${percent(rate.low)} to ${percent(rate.high)}`]);
  }
  if (pair()) facts.push(["Fixed", pair().fixed], ["Broken", pair().broken]);
  $("facts").append(...facts.map(([name, value, more]) => el("div", null, el("dt", null, name), el("dd", null, String(value), more ? el("span", {class: "small"}, more) : null))));
}

// A bar for each comparison: how the rows fall into fixed, unchanged and broken.
function drawChanges() {
  $("changes-section").hidden = !report.comparisons.length;
  const width = 1000;
  for (const item of report.comparisons) {
    const total = item.fixed + item.good + item.bad + item.broken, bars = [];
    let x = 0;
    for (const [name, title, fill] of PARTS) {
      const size = width * item[name] / total;
      if (!size) continue;
      bars.push(svg("rect", {x, y: 22, width: Math.max(size - 2, 1), height: 30, rx: 3, fill: `var(${fill})`}, svg("title", {}, `${title}: ${item[name]}`)));
      bars.push(svg("text", {x: x + size / 2, y: 70, "text-anchor": "middle"}, String(item[name])));
      x += size;
    }
    const text = `${item.before} → ${item.after}`;
    $("changes").append(svg("svg", {viewBox: `0 0 ${width} 78`, role: "img", "aria-label": text}, svg("text", {x: 0, y: 13}, text), ...bars));
  }
  $("changes-key").append(...PARTS.map(([, title, fill]) => key(title, `var(${fill})`, true)));
}

// A line for each assertion and each metric that is true or false; a dot with its interval for each voice.
function drawRates() {
  $("rates-section").hidden = !report.rows.length;
  if (!report.rows.length) return;
  const of = name => voices.map(voice => [voice, name(report.summary[voice])]);
  const lines = judged ? [["pass all assertions", of(item => item.pass_rate)]] : [];
  for (const name of Object.keys(report.summary[last].assertions || {})) lines.push([name, of(item => item.assertions[name])]);
  for (const [name] of Object.entries(report.summary[last].metrics).filter(([name]) => isShare(name))) lines.push([name === "exact" ? "exact match" : name, of(item => item.metrics[name])]);
  const left = 260, right = 960, height = 14 + 11 * voices.length, x = share => left + share * (right - left), drawn = [];
  for (const at of [0, .25, .5, .75, 1]) {
    drawn.push(svg("line", {class: "grid", x1: x(at), x2: x(at), y1: 4, y2: 4 + height * lines.length}));
    drawn.push(svg("text", {class: "small", x: x(at), y: 22 + height * lines.length, "text-anchor": "middle"}, percent(at)));
  }
  lines.forEach(([name, rates], index) => {
    const top = 4 + index * height, short = name.length > 36 ? `${name.slice(0, 35)}…` : name;
    drawn.push(svg("text", {x: left - 12, y: top + height / 2 + 4, "text-anchor": "end"}, short, svg("title", {}, name)));
    rates.forEach(([voice, rate], place) => {
      const y = top + 12 + 11 * place;
      drawn.push(svg("line", {x1: x(rate.low), x2: x(rate.high), y1: y, y2: y, stroke: color(voice), "stroke-width": 3, opacity: .45, "stroke-linecap": "round"}));
      drawn.push(svg("circle", {cx: x(rate.value), cy: y, r: 4.5, fill: color(voice)}, svg("title", {}, `${voice}: ${percent(rate.value)} (${percent(rate.low)} to ${percent(rate.high)})`)));
    });
  });
  $("rates").append(svg("svg", {viewBox: `0 0 1000 ${30 + height * lines.length}`, role: "img", "aria-label": "Pass rates with intervals; the table below holds the numbers"}, ...drawn));
  $("rates-key").append(...voices.map(voice => key(voice, color(voice))));
}

const isShare = name => report.rows.every(row => typeof row.answers[last].scores[name] === "boolean");

function drawFigures() {
  const number = (name, digits) => item => name in item ? item[name].toFixed(digits) : "-";
  const lines = [["Held-out loss", number("loss", 4)], ["Perplexity", number("perplexity", 3)]];
  const rate = ({value, low, high}) => `${percent(value)} (${percent(low)} to ${percent(high)})`, mean = ({value, low, high}) => `${value.toPrecision(3)} (${low.toPrecision(3)} to ${high.toPrecision(3)})`;
  if (report.rows.length) {
    if (judged) lines.push(["Pass all assertions", item => rate(item.pass_rate)]);
    for (const name of Object.keys(report.summary[last].assertions || {})) lines.push([name, item => rate(item.assertions[name])]);
    for (const name of Object.keys(report.summary[last].metrics)) lines.push([name === "exact" ? "Exact match" : name, item => (isShare(name) ? rate : mean)(item.metrics[name])]);
  }
  $("figures").append(el("thead", null, el("tr", null, el("th"), ...voices.map(voice => el("th", null, voice)))),
    el("tbody", null, ...lines.map(([name, cell]) => el("tr", null, el("th", {scope: "row"}, name), ...voices.map(voice => el("td", null, cell(report.summary[voice])))))));
}

function placesOf(kind) {
  if (kind === "all") return report.rows.map((row, place) => place);
  if (kind === "failed") return report.rows.map((row, place) => place).filter(place => !good(report.rows[place].answers[last]))
    .sort((a, b) => Object.keys(report.rows[b].answers[last].failed).length - Object.keys(report.rows[a].answers[last].failed).length);
  return pair() ? pair()[`${kind}_rows`] : [];
}

function chosen() {
  const text = $("text").value.toLowerCase(), assertion = $("assertion").value;
  return placesOf(state.kind).filter(place => {
    const row = report.rows[place], answers = Object.values(row.answers);
    const said = [row.question, row.reference, ...answers.map(answer => answer.text)].join("\n").toLowerCase();
    return said.includes(text) && (!assertion || answers.some(answer => assertion in answer.failed));
  });
}

// One broken answer fails many assertions for one reason: reason and the names of those that give it.
function byReason(failed) {
  const found = {};
  for (const [name, reason] of Object.entries(failed)) (found[reason] ||= []).push(name);
  return Object.entries(found).map(([reason, names]) => [reason, names.length > 2 ? `${names[0]} and ${names.length - 1} more` : names.join(", ")]);
}

// What is asked stands at the end, after what is given; only a heading such as `### Response:` may follow.
function drawQuestion(text) {
  const lines = text.trim().split("\n"), last = lines.findLast(line => line && !line.endsWith(":")) ?? lines.at(-1);
  const asked = el("p", {class: "question"}, el("b", null, last));
  return lines.length > 1 ? [asked, el("details", null, el("summary", {class: "small"}, `all ${lines.length} lines of the question`), el("div", {class: "question"}, text))] : [asked];
}

function drawAnswer(name, answer) {
  const passes = good(answer);
  const scores = Object.entries(answer.scores).filter(([name]) => name !== "exact").map(([name, value]) => `${name} ${typeof value === "number" ? value.toPrecision(3) : value ? "yes" : "no"}`);
  return el("div", {class: `answer ${passes ? "good" : "bad"}`},
    el("p", {class: "bar"}, el("b", null, name), el("span", {class: `badge ${passes ? "good" : "bad"}`}, answer.exact ? "✓ exact" : passes ? "✓ passes" : "✗ fails")),
    el("pre", null, answer.text),
    el("ul", null, ...byReason(answer.failed).map(([reason, names]) => el("li", null, `${names}: ${reason}`))),
    scores.length ? el("p", {class: "scores"}, scores.join(" · ")) : null);
}

function drawRow(place) {
  const row = report.rows[place], kind = ["fixed", "broken"].find(name => pair() && pair()[`${name}_rows`].includes(place));
  return el("article", {class: "card row", tabindex: "0", "aria-label": `${row.file} row ${row.row}`},
    el("p", {class: "small bar"}, `${row.file}:${row.row}`, kind ? el("span", {class: `badge ${kind === "fixed" ? "good" : "bad"}`}, kind) : null),
    ...drawQuestion(row.question),
    el("div", {class: "answers"}, el("div", {class: "answer"}, el("p", null, el("b", null, "reference")), el("pre", null, row.reference)),
      ...Object.entries(row.answers).map(([name, answer]) => drawAnswer(name, answer))));
}

function drawRows() {
  const places = chosen();
  $("kinds").replaceChildren(...KINDS.filter(([kind]) => pair() || kind === "all" || kind === "failed").map(([kind, title]) => {
    const button = el("button", {type: "button", "aria-pressed": String(kind === state.kind)}, `${title} ${placesOf(kind).length}`);
    button.addEventListener("click", () => show(kind));
    return button;
  }), el("span", {class: "end small", role: "status"}, `${places.length} of ${report.rows.length} rows`));
  $("rows").replaceChildren(...places.slice(0, state.drawn).map(drawRow));
  if (!places.length) $("rows").append(el("p", {class: "card empty"}, "No row is like this."));
  $("more").hidden = places.length <= state.drawn;
}

function show(kind) {
  state.kind = kind;
  state.drawn = STEP;
  drawRows();
}

function move(by) {
  const rows = [...$("rows").querySelectorAll(".row")], at = rows.indexOf(document.activeElement.closest(".row"));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
  if (next) next.focus();
}

function begin() {
  drawHead();
  drawChanges();
  drawRates();
  drawFigures();
  $("rows-section").hidden = !report.rows.length;
  report.comparisons.forEach((item, index) => $("pair").append(el("option", {value: index}, `${item.before} → ${item.after}`)));
  $("pair").value = state.pair;
  $("pair-filter").hidden = report.comparisons.length < 2;
  const names = Object.keys((report.summary[last] || {}).assertions || {});
  $("assertion").append(el("option", {value: ""}, "any"), ...names.map(name => el("option", {value: name}, name)));
  $("assertion-filter").hidden = !names.length;
  $("pair").addEventListener("change", () => { state.pair = Number($("pair").value); show(state.kind); });
  for (const id of ["text", "assertion"]) $(id).addEventListener("input", () => show(state.kind));
  $("more").addEventListener("click", () => { state.drawn += STEP; drawRows(); });
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
    const kind = KINDS.find(([, , letter]) => letter === event.key);
    if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
    else if (kind) show(kind[0]);
  });
  show(pair() && pair().broken ? "broken" : pair() && pair().fixed ? "fixed" : "all");
}

begin();
