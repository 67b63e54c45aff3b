// Draws the page of an evaluation.

const variants = Object.keys(report.summary), last = variants[variants.length - 1];
const judged = report.criterion === "pass all assertions";
const STEP = 25;  // rows drawn at once
const KINDS = [["all", "All", "a"], ["fixed", "Fixed", "f"], ["broken", "Broken", "b"], ["failed", "Failing", "x"]];
const PARTS = [["fixed", "Fixed"], ["good", "Unchanged, good"], ["bad", "Unchanged, bad"], ["broken", "Broken"]];
const state = {kind: "all", pair: report.comparisons.length - 1, drawn: STEP};

const color = variant => `var(--v${variants.length === 1 ? 1 : {base: 0, baseline: variants.includes("base") ? 2 : 0}[variant] ?? 1})`;
const percent = value => `${Math.round(100 * value)}%`;
const good = answer => judged ? !Object.keys(answer.failed).length : answer.exact;
const pair = () => report.comparisons[state.pair];

const key = (name, fill, shape) => el("span", {class: "key"}, swatch(fill, shape), name);

function drawHead() {
  $("title").textContent = report.title;
  document.title = report.title;
  $("verdicts").append(...report.comparisons.map(item => el("p", {class: `card said ${item.verdict}`}, item.sentence)));
  const figures = [["Rows", report.rows.length]];
  for (const variant of report.rows.length ? variants : []) {
    const rate = report.summary[variant].pass_rate;
    figures.push([`${variant}: ${judged ? "pass all" : "exact"}`, percent(rate.value), ` ${percent(rate.low)} to ${percent(rate.high)}`]);
  }
  if (pair()) figures.push(["Fixed", pair().fixed], ["Broken", pair().broken]);
  $("facts").append(...facts(figures));
}

// A bar for each comparison: fixed, unchanged and broken rows.
function drawChanges() {
  const width = $("changes").clientWidth, bar = item => {
    const total = sum(PARTS.map(([name]) => item[name])), text = `${item.before} → ${item.after}`, drawn = [];
    let x = 0;
    for (const [name, title] of PARTS) {
      const size = width * item[name] / total;
      if (!size) continue;
      drawn.push(svg("rect", {fill: `var(--part-${name})`, x, y: 22, width: Math.max(size - 2, 1), height: 30, rx: 3}, svg("title", {}, `${title}: ${item[name]}`)));
      drawn.push(svg("text", {class: "name", x: Math.max(8, Math.min(x + size / 2, width - 8)), y: 70, "text-anchor": "middle"}, String(item[name])));
      x += size;
    }
    return svg("svg", {height: 78, role: "img", "aria-label": text}, svg("text", {class: "name", x: 0, y: 13}, text), ...drawn);
  };
  $("changes").replaceChildren(...report.comparisons.map(bar));
}

// The measures of a variant: name, interval in its summary, and whether it is a fraction or a mean.
function measures() {
  if (!report.rows.length) return [];
  const {assertions = {}, metrics = {}} = report.summary[last];
  const isShare = name => report.rows.every(row => typeof row.answers[last].scores[name] === "boolean");
  const measures = judged ? [["Pass all assertions", item => item.pass_rate, true]] : [];
  for (const name of Object.keys(assertions)) measures.push([name, item => item.assertions[name], true]);
  for (const name of Object.keys(metrics)) measures.push([name === "exact" ? "Exact match" : name, item => item.metrics[name], isShare(name)]);
  return measures;
}

// A line for each assertion and each metric that is true or false; a dot with its interval for each variant.
function drawRates() {
  const width = $("rates").clientWidth, narrow = width < 600;  // names are above their lines
  const lines = measures().filter(([, , share]) => share);
  const left = narrow ? 16 : 260, above = narrow ? 20 : 0, height = above + 14 + 11 * variants.length, end = 4 + height * lines.length;
  const x = share => left + share * (width - 24 - left), drawn = [];
  for (const at of [0, .25, .5, .75, 1]) {
    drawn.push(svg("line", {class: "grid", x1: x(at), x2: x(at), y1: 4, y2: end}), svg("text", {x: x(at), y: end + 18, "text-anchor": "middle"}, percent(at)));
  }
  lines.forEach(([name, of], index) => {
    const top = 4 + index * height, short = name.length > 36 ? `${name.slice(0, 35)}…` : name;
    const position = narrow ? {x: 0, y: top + 20} : {x: left - 16, y: top + height / 2 + 4, "text-anchor": "end"};
    drawn.push(svg("text", {class: "name", ...position}, short, svg("title", {}, name)));
    variants.forEach((variant, number) => {
      const y = top + above + 12 + 11 * number, {value, low, high} = of(report.summary[variant]);
      drawn.push(svg("line", {x1: x(low), x2: x(high), y1: y, y2: y, stroke: color(variant), "stroke-width": 3, opacity: .45, "stroke-linecap": "round"}));
      drawn.push(svg("circle", {cx: x(value), cy: y, r: 4.5, fill: color(variant)}, svg("title", {}, `${variant}: ${percent(value)} (${percent(low)} to ${percent(high)})`)));
    });
  });
  $("rates").replaceChildren(svg("svg", {height: end + 26, role: "img", "aria-label": "Pass rates with intervals; the table below holds the numbers"}, ...drawn));
}

function drawPlots() {
  if (report.comparisons.length) drawChanges();
  if (report.rows.length) drawRates();
}

function drawFigures() {
  const figure = (name, digits) => item => name in item ? item[name].toFixed(digits) : "-";  // a served model has no loss
  const written = ({value, low, high}, form) => `${form(value)} (${form(low)} to ${form(high)})`, precise = value => value.toPrecision(3);
  const lines = [["Eval loss", figure("loss", 4)], ["Perplexity", figure("perplexity", 3)],
    ...measures().map(([name, of, share]) => [name, item => written(of(item), share ? percent : precise)])];
  $("figures").append(table(["", ...variants], lines.map(([name, cell]) => [name, ...variants.map(variant => cell(report.summary[variant]))])));
}

function indexesOf(kind) {
  if (kind === "all") return report.rows.map((row, index) => index);
  if (kind === "failed") return report.rows.map((row, index) => index).filter(index => !good(report.rows[index].answers[last]))
    .sort((a, b) => Object.keys(report.rows[b].answers[last].failed).length - Object.keys(report.rows[a].answers[last].failed).length);
  return pair() ? pair()[`${kind}_rows`] : [];
}

function chosen() {
  const text = $("text").value.toLowerCase(), assertion = $("assertion").value;
  return indexesOf(state.kind).filter(index => {
    const row = report.rows[index], answers = Object.values(row.answers);
    const words = [row.question, row.reference, ...answers.map(answer => answer.text)].join("\n").toLowerCase();
    return words.includes(text) && (!assertion || answers.some(answer => assertion in answer.failed));
  });
}

// One answer may fail many assertions for one reason: the reason and the names of its assertions.
function byReason(failed) {
  const names = {};
  for (const [name, reason] of Object.entries(failed)) (names[reason] ||= []).push(name);
  return Object.entries(names).map(([reason, list]) => [reason, list.length > 2 ? `${list[0]} and ${list.length - 1} more` : list.join(", ")]);
}

// The question is usually the last line; only a heading such as `### Response:` may follow.
function drawQuestion(text) {
  const lines = text.trim().split("\n"), last = lines.findLast(line => line && !line.endsWith(":")) ?? lines.at(-1);
  const question = el("p", {class: "question"}, el("b", null, last));
  return lines.length > 1 ? [question, el("details", null, el("summary", {class: "small"}, `all ${lines.length} lines of the question`), el("div", {class: "question"}, text))] : [question];
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

function drawRow(index) {
  const row = report.rows[index], kind = ["fixed", "broken"].find(name => pair() && pair()[`${name}_rows`].includes(index));
  return el("article", {class: "card row", tabindex: "0", "aria-label": `${row.file} row ${row.row}`},
    el("p", {class: "small bar"}, `${row.file}:${row.row}`, kind ? el("span", {class: `badge ${kind === "fixed" ? "good" : "bad"}`}, kind) : null),
    ...drawQuestion(row.question),
    el("div", {class: "answers"}, el("div", {class: "answer"}, el("p", null, el("b", null, "reference")), el("pre", null, row.reference)),
      ...Object.entries(row.answers).map(([name, answer]) => drawAnswer(name, answer))));
}

function drawRows() {
  const indexes = chosen();
  $("kinds").replaceChildren(...KINDS.filter(([kind]) => pair() || kind === "all" || kind === "failed").map(([kind, title]) =>
    button(`${title} ${indexesOf(kind).length}`, () => show(kind), {"aria-pressed": String(kind === state.kind)})), el("span", {class: "end small", role: "status"}, `${indexes.length} of ${report.rows.length} rows`));
  $("rows").replaceChildren(...indexes.slice(0, state.drawn).map(drawRow));
  if (!indexes.length) $("rows").append(empty("No row is like this."));
  $("more").hidden = indexes.length <= state.drawn;
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
  $("changes-section").hidden = !report.comparisons.length;
  for (const id of ["rates-section", "rows-section"]) $(id).hidden = !report.rows.length;
  $("changes-key").append(...PARTS.map(([name, title]) => key(title, `var(--part-${name})`)));
  $("rates-key").append(...variants.map(variant => key(variant, color(variant), "dot")));
  drawHead();
  drawPlots();
  drawFigures();
  $("pair").append(...options(report.comparisons.map((item, index) => [index, `${item.before} → ${item.after}`])));
  $("pair").value = state.pair;
  $("pair-filter").hidden = report.comparisons.length < 2;
  const names = Object.keys((report.summary[last] || {}).assertions || {});
  $("assertion").append(...options([["", "any"], ...names.map(name => [name, name])]));
  $("assertion-filter").hidden = !names.length;
  $("pair").addEventListener("change", () => { state.pair = Number($("pair").value); show(state.kind); });
  for (const id of ["text", "assertion"]) $(id).addEventListener("input", () => show(state.kind));
  $("more").addEventListener("click", () => { state.drawn += STEP; drawRows(); });
  addEventListener("resize", drawPlots);
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
    const kind = KINDS.find(([, , letter]) => letter === event.key);
    if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
    else if (kind) show(kind[0]);
  });
  show(pair() && pair().broken ? "broken" : pair() && pair().fixed ? "fixed" : "all");
}

begin();
