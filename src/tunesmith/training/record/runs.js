// Draws the page of runs.

const LOSSES = "loss, eval loss dashed";
const NOT_DRAWN = ["epoch", "tokens", "num_input_tokens_seen", "eval_tokens", "total_flos"];
const BOX = {left: 56, right: 988, top: 12, bottom: 340};  // of the curves, in pixels; the right follows the window
const COLUMNS = [
  ["Run", run => run.name], ["Status", run => run.status], ["Started", run => (run.started || "").slice(0, 16).replace("T", " ")],
  ["Steps", run => run.step], ["Loss", run => run.loss], ["Best eval loss", run => run.eval_loss], ["Tokens/s", run => run.tokens_per_second],
  ["Chosen by", run => run.metric === "eval_loss" || run.best === null ? "eval loss" : `${run.metric.slice(5).replaceAll("_", " ")} ${number(run.best)}`],
];
const shown = new Set(report.runs);
const sorted = {column: 5, down: false};

function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value)) return whole(value);
  return size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : size < 100 ? value.toFixed(4) : value.toLocaleString("en", {maximumFractionDigits: 1});
}

const color = run => `var(--c${report.runs.indexOf(run) % 8})`;
const metricsOf = run => $("metric").value === LOSSES ? ["loss", "eval_loss"] : [$("metric").value];

// The curves that are drawn: of each run that is shown, each metric that is chosen.
function curves() {
  const positive = point => !$("log").checked || point[1] > 0;
  return [...shown].flatMap(run => metricsOf(run).map(name => ({run, name, points: (run.metrics[name] || []).filter(positive)})))
    .filter(curve => curve.points.length);
}

function scales(drawn) {
  const steps = drawn.flatMap(curve => curve.points.map(point => point[0])), values = drawn.flatMap(curve => curve.points.map(point => point[1]));
  const least = list => list.reduce((a, b) => Math.min(a, b)), most = list => list.reduce((a, b) => Math.max(a, b));
  const way = $("log").checked ? Math.log10 : value => value;
  let [low, high] = [way(least(values)), way(most(values))];
  const margin = (high - low || Math.abs(high) || 1) * .05;
  [low, high] = [low >= 0 && !$("log").checked ? Math.max(0, low - margin) : low - margin, high + margin];
  const [first, last] = [least(steps), Math.max(most(steps), least(steps) + 1)];
  return {
    first, last, low, high,
    x: step => BOX.left + (step - first) / (last - first) * (BOX.right - BOX.left),
    y: value => BOX.bottom - (way(value) - low) / (high - low) * (BOX.bottom - BOX.top),
  };
}

let scale = null;

function drawPlot() {
  const drawn = curves();
  BOX.right = $("plot").clientWidth - 16;
  $("plot").replaceChildren();
  hideTip();
  scale = drawn.length ? scales(drawn) : null;
  if (!scale) {
    $("plot").append(svg("text", {class: "name", x: BOX.right / 2, y: 180, "text-anchor": "middle"}, shown.size ? "None of these runs has this metric." : "No run is chosen."));
    return;
  }
  for (const at of ticks(scale.low, scale.high, 7)) {
    const value = $("log").checked ? 10 ** at : at, y = scale.y(value);
    $("plot").append(svg("line", {class: "grid", x1: BOX.left, x2: BOX.right, y1: y, y2: y}),
      svg("text", {x: BOX.left - 8, y: y + 4, "text-anchor": "end"}, Number(value.toPrecision(3)).toLocaleString("en", {maximumSignificantDigits: 3})));
  }
  for (const at of ticks(scale.first, scale.last, BOX.right / 120).filter(Number.isInteger)) {
    $("plot").append(svg("text", {x: scale.x(at), y: BOX.bottom + 18, "text-anchor": "middle"}, number(at)));
  }
  $("plot").append(svg("text", {x: BOX.right, y: BOX.bottom + 34, "text-anchor": "end"}, "step"));
  for (const {run, name, points} of drawn) {
    const held = name.startsWith("eval_"), at = ([step, value]) => `${scale.x(step).toFixed(1)} ${scale.y(value).toFixed(1)}`;
    $("plot").append(svg("path", {class: `curve ${held ? "held" : ""}`, stroke: color(run), d: `M${points.map(at).join("L")}`}));
    if (held || points.length === 1) {
      for (const [step, value] of points) $("plot").append(svg("circle", {cx: scale.x(step), cy: scale.y(value), r: 3.5, fill: color(run)}));
    }
  }
}

// The values nearest to the pointer, of each curve that goes so far.
function tell(event) {
  if (!scale) return;
  const x = event.clientX - $("plot").getBoundingClientRect().left;
  const wanted = scale.first + (x - BOX.left) / (BOX.right - BOX.left) * (scale.last - scale.first);
  const near = points => points.reduce((best, point) => Math.abs(point[0] - wanted) < Math.abs(best[0] - wanted) ? point : best);
  const drawn = curves(), [step] = near(drawn.flatMap(curve => curve.points)), reach = (scale.last - scale.first) / 40;
  const lines = drawn.map(({run, name, points}) => [run, name, near(points), points[0][0] <= step && step <= points[points.length - 1][0]])
    .filter(([, name, point, inside]) => point[0] === step || (inside && !name.startsWith("eval_")) || Math.abs(point[0] - step) < reach);
  for (const node of $("plot").querySelectorAll(".cursor")) node.remove();
  $("plot").append(svg("line", {class: "cursor", x1: scale.x(step), x2: scale.x(step), y1: BOX.top, y2: BOX.bottom}));
  showTip({left: event.clientX + 16, top: event.clientY - 10, bottom: event.clientY + 10}, el("b", null, `step ${number(step)}`),
    ...lines.map(([run, name, point]) => el("div", {class: "key"}, swatch(color(run), "stroke"),
      `${run.name}${name.startsWith("eval_") ? " (eval)" : ""}: ${number(point[1])}${point[0] === step ? "" : ` (step ${number(point[0])})`}`)));
}

function hideTip() {
  $("tip").hidden = true;
  for (const node of $("plot").querySelectorAll(".cursor")) node.remove();
}

function drawLegend() {
  for (const run of report.runs) {
    const box = el("input", {type: "checkbox", checked: ""});
    box.addEventListener("change", () => { shown[box.checked ? "add" : "delete"](run); drawPlot(); });
    $("legend").append(el("label", {class: "key"}, box, swatch(color(run), "stroke"), run.name));
  }
}

function drawTable() {
  const value = COLUMNS[sorted.column][1], missing = item => item === null || item === undefined;
  const runs = [...report.runs].sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    return (one < other ? -1 : one > other ? 1 : 0) * (sorted.down ? -1 : 1);
  });
  const head = COLUMNS.map(([name], index) => {
    const way = sorted.down ? "descending" : "ascending", mark = index !== sorted.column ? "" : sorted.down ? " ↓" : " ↑";
    const sort = () => {
      Object.assign(sorted, {down: index === sorted.column && !sorted.down, column: index});
      drawTable();
    };
    return el("th", {scope: "col", ...(index === sorted.column ? {"aria-sort": way} : {})},
      button(name + mark, sort, {title: `Sort by ${name.toLowerCase()}`}));
  });
  const steps = run => run.steps && run.steps !== run.step ? `${number(run.step || 0)} of ${number(run.steps)}` : number(run.step);
  const line = run => [
    el("th", {scope: "row", title: run.folder}, run.name), el("td", {class: run.status}, run.status),
    ...COLUMNS.slice(2).map(([name, of]) => name === "Steps" ? steps(run) : number(of(run))),
  ];
  $("table").replaceChildren(table(head, runs.map(line)));
}

function drawDifferences() {
  const rows = Object.entries(report.differences);
  if (!rows.length) {
    $("differences").append(el("p", {class: "muted"}, report.runs.length > 1 ? "All of these runs have the same config." : "There is one run."));
    return;
  }
  const text = value => value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value);
  $("differences").append(table(["Key", ...report.runs.map(run => run.name)], rows.map(([key, values]) => [el("code", null, key), ...values.map(text)])));
}

function drawConfigs() {
  for (const run of report.runs) {
    $("configs").append(el("details", null, el("summary", null, run.name), el("pre", null, run.config)));
  }
}

const names = [...new Set(report.runs.flatMap(run => Object.keys(run.metrics)))].filter(name => !NOT_DRAWN.includes(name));
$("metric").append(...options([LOSSES, ...names].map(name => [name, name])));
$("title").textContent = report.runs.length === 1 ? report.runs[0].name : `${report.runs.length} runs`;
for (const id of ["metric", "log"]) $(id).addEventListener("input", drawPlot);
for (const kind of ["pointermove", "pointerdown"]) $("plot").addEventListener(kind, tell);
$("plot").addEventListener("pointerleave", hideTip);
addEventListener("scroll", hideTip, {passive: true});
addEventListener("resize", drawPlot);
drawLegend();
drawPlot();
drawTable();
drawDifferences();
drawConfigs();
