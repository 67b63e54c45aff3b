// Draws the page of the data doctor.

const SIGNS = {error: "✕", warning: "!", info: "i"};  // worst first
const PAGE = 10;  // samples shown at once
const LISTED = 3;  // rows of a finding that are shown at once
const KEPT = {on: 150, off: 60};  // tokens left at both ends of a long stretch that is folded
const FILTERS = ["row", "code", "dataset"];
const filter = {row: "", code: "", dataset: "", first: 0};
const sampleOf = new WeakMap();  // element that holds tokens -> its sample

const coded = text => text.split("`").map((part, index) => index % 2 ? el("code", null, part) : part);

function share(part, whole) {
  const percent = 100 * part / Math.max(whole, 1);
  return `${percent.toFixed(percent === 0 || percent === 100 || (percent >= 1 && percent <= 99) ? 0 : 2)}%`;
}

// A row is `file:row`, the file without its folder where no other file has that name.
const files = new Set([...report.samples.map(sample => sample.file), ...report.findings.flatMap(item => item.hits.map(hit => hit[0]))]);
const alone = name => [...files].filter(file => baseName(file) === name).length === 1;
const shortName = new Map([...files].map(file => [file, alone(baseName(file)) ? baseName(file) : file]));
const short = (file, row) => `${shortName.get(file)}:${row}`;

// The samples of each row, and the findings of each sample: also those that name its row among the first.
const samplesAt = new Map();
for (const sample of report.samples) {
  sample.place = `${sample.file}:${sample.row}`;
  samplesAt.set(sample.place, [...(samplesAt.get(sample.place) || []), sample]);
}
for (const {code, hits} of report.findings) {
  for (const [file, row] of hits) {
    for (const sample of samplesAt.get(`${file}:${row}`) || []) if (!sample.codes.includes(code)) sample.codes.push(code);
  }
}

function drawHeader() {
  document.title = `Data check: ${baseName(report.source)}`;
  $("source").textContent = baseName(report.source);
  $("path").textContent = report.source === baseName(report.source) ? "" : report.source;
  for (const [severity, sign] of Object.entries(SIGNS)) {
    const count = report.findings.filter(item => item.severity === severity).length;
    const text = `${sign} ${plural(count, severity)}`;
    $("verdict").append(count ? el("a", {href: `#${severity}`, class: `badge ${severity}`}, text) : el("span", {class: "badge"}, text));
  }
  const total = name => sum(report.figures.map(figures => figures[name]));
  $("totals").append(...facts([
    ["Rows", whole(total("rows"))],
    ["Samples", whole(total("samples"))],
    ["Tokens", whole(total("tokens"))],
    ["Trained tokens", share(total("trained"), total("tokens"))],
    ["Untrained rows", whole(total("nothing_trained"))],
    ["sequence_len", whole(report.sequence_len)],
  ]));
}

function drawFindings() {
  for (const severity of Object.keys(SIGNS)) {
    const cards = report.findings.filter(item => item.severity === severity).map(findingCard);
    if (cards.length) cards[0].id = severity;  // to which the header links
    $("findings").append(...cards);
  }
  if (!report.findings.length) $("findings").append(empty("✓ No findings", "All checks were made, and none has anything to say."));
}

function findingCard(item) {
  const {severity, code, count} = item;
  const lines = item.hits.map(hit => hitLine(code, hit));
  const samples = report.samples.filter(sample => sample.codes.includes(code)).length;
  const what = item.hits.some(([file]) => file) ? "row" : "time";
  return el("article", {class: `card finding ${severity}`},
    el("div", {class: "bar"},
      el("span", {class: `badge ${severity}`}, `${SIGNS[severity]} ${severity}`),
      el("code", null, code),
      count ? el("span", {class: "muted"}, plural(count, what)) : null,
      samples ? button(`Show ${plural(samples, "sample")}`, () => choose({code}), {class: "link end"}) : null),
    el("h3", null, ...coded(item.title)),
    el("p", {class: "cure"}, el("span", {class: "muted"}, "Fix: "), ...coded(item.cure)),
    el("ul", {class: "rows"}, ...lines.slice(0, LISTED)),
    lines.length > LISTED
      ? el("details", null, el("summary", null, `${lines.length - LISTED} more of ${plural(count, what)}`),
        el("ul", {class: "rows"}, ...lines.slice(LISTED))) : null);
}

function hitLine(code, [file, row, detail]) {
  const place = `${file}:${row}`, name = short(file, row);
  return el("li", null,
    !file ? null : samplesAt.has(place)
      ? button(name, () => choose({code, row: name}), {class: "link mono", title: `Show the tokens of ${place}`})
      : el("span", {class: "mono", title: `${place}, which is not among the samples`}, name),
    detail ? el(detail.includes("\n") ? "pre" : "span", null, detail) : null);
}

function drawDatasets() {
  $("datasets").append(...report.figures.map(datasetCard));
  if (!report.figures.length) $("datasets").append(empty("No datasets", "No dataset was read."));
}

function datasetCard(figures) {
  const {rows, samples, tokens, trained, packing, lengths} = figures;
  const roles = Object.entries(figures.by_role);
  return el("article", {class: "card dataset"},
    el("div", null, el("h3", null, figures.name),
      el("dl", {class: "facts"}, ...facts([
        ["Rows", whole(rows)],
        ["Samples", whole(samples)],
        ["Tokens", whole(tokens)],
        ["Untrained rows", `${whole(figures.nothing_trained)} (${share(figures.nothing_trained, rows)})`],
        ["Answer end trained", share(figures.end_trained, samples)],
      ])),
      meter(trained / Math.max(tokens, 1), share(trained, tokens), "of the tokens are trained"),
      packing === null ? null
        : meter(packing, `${(100 * packing).toFixed(1)}%`, `of each packed sequence of ${whole(report.sequence_len)} is filled`)),
    lengths.length ? histogram(lengths, report.sequence_len) : el("p", {class: "muted"}, "No row became a sample."),
    roles.length ? el("div", {class: "wide"}, roleTable(roles)) : null);
}

function meter(part, text, what) {
  const fill = el("i");
  fill.style.width = `${100 * part}%`;
  return el("div", {class: "meter"}, el("strong", null, text), ` ${what}`, el("div", {"aria-hidden": "true"}, fill));
}

function roleTable(roles) {
  return table(["Role", "Turns", "Characters", "Trained turns"], roles.map(([role, [turns, characters, trained]]) =>
    [role, whole(turns), whole(characters), `${whole(trained)} (${share(trained, turns)})`]));
}

// `lengths` holds [tokens, samples], shortest first. What is far off to the right is counted in the last bar.
function histogram(lengths, limit) {
  const total = sum(lengths.map(([, count]) => count)), longest = lengths[lengths.length - 1][0];
  const quantile = part => { let seen = 0; return lengths.find(([, count]) => (seen += count) >= part * total)[0]; };
  const right = Math.max(Math.min(longest, Math.max(2 * limit, 1.2 * quantile(.99))), limit <= 2 * longest ? limit : 1);
  const step = roundStep(Math.max(right / 30, 1));
  const bars = Array.from({length: Math.floor(right / step) + 1}, () => [0, 0]), end = bars.length * step;
  for (const [length, count] of lengths) bars[Math.min(Math.floor(length / step), bars.length - 1)][Number(length > limit)] += count;

  const most = Math.max(...bars.map(sum)), height = count => count ? Math.max(100 * count / most, 1.5) : 0;
  const drawn = bars.map(([fits, over], index) => {
    const last = index === bars.length - 1 && longest >= end ? " and more" : step > 1 ? ` to ${whole((index + 1) * step - 1)}` : "";
    const rect = (kind, top, tall, gap = .06) => svg("rect", {class: kind, x: index + gap, width: 1 - 2 * gap, y: top, height: tall});
    return svg("g", {}, svg("title", {}, `${whole(index * step)}${last} tokens: ${plural(fits + over, "sample")}`), rect("hit", 0, 100, 0),
      rect("fits", 100 - height(fits), height(fits)), rect("over", 100 - height(fits) - height(over), height(over)));
  });
  const above = lengths.filter(([length]) => length > limit);
  const count = sum(above.map(([, samples]) => samples)), excess = sum(above.map(([length, samples]) => (length - limit) * samples));
  const text = `Median ${whole(quantile(.5))}, 95% up to ${whole(quantile(.95))}, longest ${whole(longest)}. ` + (count
    ? `${plural(count, "sample")} (${share(count, total)}) above sequence_len, by ${plural(excess, "token")}.`
    : `All fit in sequence_len ${whole(limit)}.`);
  const chart = svg("svg", {viewBox: `0 0 ${bars.length} 100`, preserveAspectRatio: "none", role: "img", "aria-label": text}, ...drawn);
  const label = el("span", {class: "limit"}, `sequence_len ${whole(limit)}`), place = (limit + .5) / end;
  if (place < 1) chart.append(svg("line", {x1: place * bars.length, x2: place * bars.length, y1: 0, y2: 100}));
  label.style[place > .5 ? "right" : "left"] = `${100 * (place > .5 ? 1 - place : place)}%`;
  label.hidden = place >= 1;
  const axis = ["0", whole(Math.round(end / 2)), whole(end) + (longest >= end ? "+" : "")].map(mark => el("span", null, mark));
  return el("figure", null, el("h3", null, "Tokens of a sample"),
    el("div", {class: "chart"}, label, chart, el("div", {class: "axis", "aria-hidden": "true"}, ...axis)),
    el("figcaption", {class: "small"}, text));
}

function hasRow(sample, wanted) {
  if (/^:?\d+$/.test(wanted)) return sample.row === Number(wanted.replace(":", ""));
  if (!/:\d+$/.test(wanted)) return sample.place.includes(wanted);
  return sample.place === wanted || sample.place.endsWith(`/${wanted}`) || short(sample.file, sample.row) === wanted;
}

// Show the samples that the wanted filters leave, and go there.
function choose(wanted) {
  Object.assign(filter, {row: "", code: "", dataset: "", first: 0}, wanted);
  for (const name of FILTERS) $(name).value = filter[name];
  drawSamples();
  toSamples();
}

function toSamples() {
  $("samples-title").scrollIntoView();
  $("samples-title").focus({preventScroll: true});
}

function drawFilters() {
  const fill = (name, all, valuesOf) => {
    const counts = new Map();
    for (const value of report.samples.flatMap(valuesOf)) counts.set(value, (counts.get(value) || 0) + 1);
    $(name).append(...options([["", all], ...[...counts].map(([value, count]) => [value, `${value} (${whole(count)})`])]));
    return counts.size;
  };
  fill("code", "All", sample => sample.codes);
  $("datasets-filter").hidden = fill("dataset", "All", sample => [sample.dataset]) < 2;
  for (const node of document.querySelectorAll(".browse")) node.hidden = !report.samples.length;
  for (const name of FILTERS) {
    $(name).addEventListener("input", () => { filter[name] = $(name).value.trim(); filter.first = 0; drawSamples(); });
  }
  for (const [name, step] of [["previous", -PAGE], ["next", PAGE]]) {
    $(name).addEventListener("click", () => { filter.first += step; drawSamples(); toSamples(); });
  }
  $("clear").addEventListener("click", () => choose({}));
  $("trained-only").addEventListener("change", () => document.querySelectorAll(".tokens:not(:empty)").forEach(drawTokens));
  $("ids").addEventListener("change", () => $("samples").classList.toggle("ids", $("ids").checked));
}

// Tokens are drawn when their sample comes near to the screen: a report may have some hundred thousand of them.
const nearby = new IntersectionObserver(entries => {
  for (const {target} of entries.filter(entry => entry.isIntersecting)) {
    nearby.unobserve(target);
    drawTokens(target);
  }
}, {rootMargin: "600px"});

function drawSamples() {
  const {row, code, dataset, first} = filter;
  const found = report.samples.filter(sample => hasRow(sample, row)
    && (!code || sample.codes.includes(code)) && (!dataset || sample.dataset === dataset));
  const last = Math.min(first + PAGE, found.length);
  $("status").textContent = (found.length > PAGE ? `${first + 1}–${last} of ` : "") + plural(found.length, "sample");
  $("previous").disabled = !first;
  $("next").disabled = last === found.length;
  $("clear").hidden = !(row || code || dataset);
  nearby.disconnect();
  hideTip();
  $("samples").replaceChildren(...found.slice(first, last).map(sampleCard));
  if (!report.samples.length) $("samples").append(empty("No samples", "No row of the data became a sample."));
  else if (!found.length) {
    $("samples").append(empty("No sample matches", `The page holds ${plural(report.samples.length, "sample")} of the data, not all of it.`,
      button("Clear filters", () => choose({}))));
  }
}

function sampleCard(sample) {
  const length = sample.labels.length, trained = stretches(sample).filter(([, , on]) => on);
  const body = el("div", {class: "tokens", role: "group", "aria-label": `Tokens of ${sample.place}`});
  sampleOf.set(body, sample);
  nearby.observe(body);
  const severity = code => (report.findings.find(item => item.code === code) || {severity: ""}).severity;
  const line = trained.map(([start, end]) => `M${start} 0H${end}V1H${start}Z`).join("");
  return el("article", {class: "card"},
    el("div", {class: "bar"},
      el("h3", {class: "mono", title: sample.place}, short(sample.file, sample.row)),
      ...sample.codes.map(code => button(code, () => choose({code}), {class: `badge ${severity(code)}`, title: `All samples with ${code}`})),
      el("span", {class: "small end"}, `${plural(length, "token")}, ${share(sum(trained.map(([start, end]) => end - start)), length)} trained`)),
    svg("svg", {class: "strip", viewBox: `0 0 ${length || 1} 1`, preserveAspectRatio: "none", "aria-hidden": "true"}, svg("path", {d: line})),
    body);
}

// [start, end, trained] of each stretch of tokens that are all trained or all masked.
function stretches({labels}) {
  const found = [];
  labels.forEach((label, index) => {
    const last = found[found.length - 1];
    if (last && last[2] === label >= 0) last[1] = index + 1;
    else found.push([index, index + 1, label >= 0]);
  });
  return found;
}

function drawTokens(body) {
  const sample = sampleOf.get(body), only = $("trained-only").checked;
  body.replaceChildren();
  for (const [start, end, on] of stretches(sample)) {
    const kept = on ? KEPT.on : only ? 0 : KEPT.off;
    if (kept && end - start <= 2 * kept + 20) body.append(...tokens(sample, start, end));
    else body.append(...tokens(sample, start, start + kept), fold(sample, start + kept, end - kept, on), ...tokens(sample, end - kept, end));
  }
  const stop = body.querySelector(".t");
  if (stop) stop.tabIndex = 0;
}

function fold(sample, start, end, on) {
  return button(`${whole(end - start)} ${on ? "trained" : "masked"}`, event => {
    const opened = tokens(sample, start, end);
    event.currentTarget.replaceWith(...opened);
    goTo(opened[0]);
  }, {class: `fold ${on ? "fold-on" : ""}`, title: "Show these tokens"});
}

function tokens(sample, start, end) {
  const made = [];
  for (let index = start; index < end; index++) {
    const piece = sample.pieces[index], text = visible(piece), node = document.createElement("span");
    const broken = text.endsWith("\n");  // the break stands behind the token, so that its id stays beside it
    node.className = `t ${sample.labels[index] >= 0 ? "on" : "off"}${/^ (?! )/.test(piece) ? " space" : ""}`;
    node.textContent = broken ? text.slice(0, -1) : text;
    node.tabIndex = -1;
    node.dataset.index = index;
    node.dataset.id = sample.input_ids[index];
    made.push(node, ...(broken ? ["\n"] : []));
  }
  return made;
}

// A space that begins a token stays one, with a dot drawn behind it, so that the browser finds phrases; others are dots.
function visible(piece) {
  return (piece || "▫").replace(/ (?= )|(?<=[ \n]) |(?<=.) $/g, "·").replace(/\n/g, "↵\n").replace(/\t/g, "⇥\t")
    .replace(/[\0-\x08\x0b-\x1f]/g, found => String.fromCharCode(0x2400 + found.charCodeAt(0)))
    .replace(/[\x7f-\x9f\u00ad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      found => `⟨U+${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

let told = null;  // the token that the tip is about

function tell(node) {
  const sample = sampleOf.get(node.parentNode), index = Number(node.dataset.index), label = sample.labels[index];
  told = node;
  showTip(node.getClientRects()[0], el("b", null, JSON.stringify(sample.pieces[index])),
    `id ${sample.input_ids[index]}, label ${label} (${label >= 0 ? "trained" : "masked"}), token ${index} of ${sample.labels.length}`);
}

function hideTip() {
  told = null;
  $("tip").hidden = true;
}

// One token of each sample is a stop of the Tab key; the arrows go on from it.
function goTo(node) {
  for (const stop of node.parentNode.querySelectorAll(".t[tabindex='0']")) stop.tabIndex = -1;
  node.tabIndex = 0;
  node.focus();
}

function move(event) {
  const from = event.target, on = item => item.matches(".on, .fold-on");
  if (!sampleOf.has(from.parentNode) || !/^Arrow/.test(event.key)) return;
  const side = /Right|Down/.test(event.key) ? "nextElementSibling" : "previousElementSibling";
  let to = from[side];
  if (/Up|Down/.test(event.key)) while (to && on(to) === on(from)) to = to[side];
  event.preventDefault();
  if (to) goTo(to);
}

function listen() {
  const isToken = node => node instanceof Element && node.matches("#samples .t");
  for (const kind of ["pointerover", "focusin"]) {
    $("samples").addEventListener(kind, ({target}) => { if (isToken(target)) tell(target); });
  }
  for (const kind of ["pointerout", "focusout"]) $("samples").addEventListener(kind, hideTip);
  $("samples").addEventListener("focusin", ({target}) => { if (isToken(target)) target.setAttribute("aria-describedby", "tip"); });
  $("samples").addEventListener("keydown", move);
  addEventListener("keydown", ({key}) => { if (key === "Escape") hideTip(); });
  addEventListener("scroll", () => { if (told) tell(told); }, {passive: true});
}

drawHeader();
drawFindings();
drawDatasets();
drawFilters();
drawSamples();
listen();
