// The label page. Every change is sent at once.

const {file, items} = report;
const undone = [];  // the replaced state of each change: {index, label, why}
let current = 0;
let saving = Promise.resolve();  // one after the other, so that the last change stays
let waiting = null;  // timer of a reason that is being written

const open = (from, step = 1) => {
  for (let tried = 0; tried < items.length; tried++) {
    const index = (from + step * tried + items.length) % items.length;
    if (!items[index].label) return index;
  }
  return -1;
};

function show(index) {
  current = Math.max(0, Math.min(index, items.length - 1));
  history.replaceState(null, "", `#${current + 1}`);
  const item = items[current];
  for (const name of ["id", "question", "answer"]) $(name).textContent = item[name];
  $("why").value = item.why;
  scrollTo(0, 0);
  marks();
}

function marks() {
  const count = label => items.filter(item => item.label === label).length;
  const [good, bad] = [count("good"), count("bad")];
  $("place").textContent = `${current + 1} of ${items.length}`;
  $("counts").textContent = `${good + bad} labelled: ${good} good, ${bad} bad`;
  $("progress").max = items.length;
  $("progress").value = good + bad;
  for (const name of ["good", "bad"]) $(name).setAttribute("aria-pressed", items[current].label === name);
  $("undo").disabled = !undone.length;
  $("previous").disabled = current === 0;
  $("next").disabled = current === items.length - 1;
}

function say(text, error = false) {
  $("status").textContent = text;
  $("status").className = error ? "small error" : "small";
}

function save(index) {
  const {label, why} = items[index];
  saving = saving.then(async () => {
    try {
      const answer = await fetch("/", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({index, label, why})});
      if (!answer.ok) throw new Error(await answer.text());
      say(undone.length && items.every(item => item.label) ? `All are labelled, in ${file}` : `Saved in ${file}`);
    } catch (error) {
      say(error instanceof TypeError ? "Not saved: tunesmith label does not run any more; start it again and reload" : error.message, true);
    }
  });
}

function change(label, why) {
  const item = items[current];
  if (item.label === label && item.why === why) return;
  undone.push({index: current, label: item.label, why: item.why});
  Object.assign(item, {label, why});
  save(current);
  marks();
}

function written() {  // a reason is kept also where there is no label yet
  clearTimeout(waiting);
  const item = items[current];
  if (item.why === $("why").value) return;
  item.why = $("why").value;
  save(current);
}

function go(index) {
  written();
  $("why").blur();
  show(index);
}

function goOn() {
  const index = open(current + 1);
  go(index < 0 ? current : index);
}

function label(word) {
  written();
  change(word, $("why").value);
  if (word === "bad" && !$("why").value) $("why").focus();  // a reason is worth most where it is bad
  else goOn();
}

function undo() {
  written();
  const last = undone.pop();
  if (!last) return;
  Object.assign(items[last.index], {label: last.label, why: last.why});
  save(last.index);
  $("why").blur();
  show(last.index);
}

const KEYS = {
  g: () => label("good"), b: () => label("bad"), u: undo, w: () => $("why").focus(),
  ArrowLeft: () => go(current - 1), ArrowRight: () => go(current + 1),
};

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target === $("why")) {
    if (event.key === "Escape") { written(); $("why").blur(); }
    if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); if (items[current].label) goOn(); else { written(); $("why").blur(); } }
    return;
  }
  if (!event.repeat && KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});
$("why").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(written, 200); });
$("good").addEventListener("click", () => label("good"));
$("bad").addEventListener("click", () => label("bad"));
$("undo").addEventListener("click", undo);
$("previous").addEventListener("click", () => go(current - 1));
$("next").addEventListener("click", () => go(current + 1));

const linked = Number(location.hash.slice(1)) - 1;
show(linked >= 0 && linked < items.length ? linked : Math.max(0, open(0)));
