"use strict";
// What the scripts of all pages use. What comes from rows and records goes in as text and attributes, never as HTML.

const report = JSON.parse(document.getElementById("report").textContent);
const $ = id => document.getElementById(id);

function put(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter(child => child !== null));
  return node;
}

const el = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => put(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function button(text, click, attributes) {
  const node = el("button", {type: "button", ...attributes}, text);
  node.addEventListener("click", click);
  return node;
}

// A table of lines of cells; the first cell of a line names it. A cell is text, or a `th` or `td` that is made already.
function table(head, lines) {
  const cell = (tag, scope, item) => item instanceof HTMLTableCellElement ? item : el(tag, scope && {scope}, item);
  const line = ([name, ...cells]) => el("tr", null, cell("th", "row", name), ...cells.map(item => cell("td", null, item)));
  return el("div", {class: "wide"}, el("table", null,
    el("thead", null, el("tr", null, ...head.map(item => cell("th", "col", item)))), el("tbody", null, ...lines.map(line))));
}

const facts = pairs => pairs.map(([name, value, more]) => el("div", null, el("dt", null, name), el("dd", null, String(value), more ? el("span", {class: "small"}, more) : null)));
const options = pairs => pairs.map(([value, text]) => el("option", {value}, text));

function empty(title, text, more = null) {
  return el("div", {class: "card empty"}, el("p", null, el("strong", null, title)), text ? el("p", {class: "muted"}, text) : null, more);
}

// What a colour stands for, in the key of a plot.
function swatch(color, shape = "") {
  const node = el("i", {class: `swatch ${shape}`});
  node.style.background = color;
  return node;
}

const sum = values => values.reduce((total, value) => total + value, 0);
const baseName = path => path.split(/[/\\]/).pop() || path;
const whole = value => value.toLocaleString("en");
const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;

// The next step of an axis above a size: 1, 2 or 5 times a power of ten.
function roundStep(size) {
  const power = 10 ** Math.floor(Math.log10(size));
  return [1, 2, 5, 10].map(factor => factor * power).find(step => step >= size * (1 - 1e-9));
}

// Round numbers that divide a range into at most so many parts.
function ticks(low, high, parts) {
  const step = roundStep((high - low) / parts || 1), found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

// Shows the tip below a box of the screen, or above it where there is no room.
function showTip({left, top, bottom}, ...children) {
  $("tip").replaceChildren(...children);
  $("tip").hidden = false;
  const tip = $("tip").getBoundingClientRect(), below = bottom + tip.height + 8 < innerHeight;
  $("tip").style.left = `${Math.max(8, Math.min(left, innerWidth - tip.width - 8))}px`;
  $("tip").style.top = `${below ? bottom + 6 : top - tip.height - 6}px`;
}
