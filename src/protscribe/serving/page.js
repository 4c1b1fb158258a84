// The page of `protscribe serve`: asks the server beside it and draws what it answers. Whatever comes from elsewhere becomes text
// or an attribute of an element made here, never markup.
"use strict";

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const RESIDUE_KINDS = ["residue_set", "residue_labels", "segments"];
const MOST_LABELS = 8, MOST_ROWS = 2000;
const EXAMPLES = {
  "alpha-synuclein (disordered)": `>alpha_synuclein human, P37840
MDVFMKGLSKAKEGVVAAAEKTKQGVAEAAGKTKEGVLYVGSKTKEGVVHGVATVAEKTK
EQVTNVGGAVVTGVTAVAQKTVEGAGSIAAATGFVKKDQLGKNEEGAPQEGILEDMPVDP
DNEAYEMPSEEGYQDYEPEA`,
  "LL-37 (antimicrobial peptide)": `>LL-37 human cathelicidin, P49913
LLGDFFRKSKEKIGKEFKRIVQRIKDFLRNLVPRTES`,
  "two proteins": `>ubiquitin human, P0CG48
MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYN
IQKESTLHLVLRLRGG
>flu_peptide influenza A matrix protein, 58 to 66
GILGFVFTL`,
};
let served = null, last = null;

// Elements ---------------------------------------------------------------------------------------------------------------

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

function draw(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function share(value) {
  if (value === null || value === undefined) return "";
  // What is not quite certain is not shown as certain.
  if (value < 0.0995) return value < 0.00005 ? "< 0.0001" : value.toPrecision(2);
  return value > 0.995 && value < 1 ? (value > 0.9999 ? "> 0.9999" : value.toFixed(4)) : value.toFixed(2);
}

const number = (value) => String(Number(value.toPrecision(4)));
const words = (name) => name.replaceAll("_", " ");
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// The form ---------------------------------------------------------------------------------------------------------------

async function begin() {
  for (const [name, text] of Object.entries(EXAMPLES)) {
    const button = make("button", { type: "button", className: "link", textContent: name });
    button.addEventListener("click", () => { byId("proteins").value = text; count(); });
    byId("examples").append(button, " ");
  }
  byId("proteins").addEventListener("input", count);
  byId("form").addEventListener("submit", ask);
  byId("save").addEventListener("click", save);
  for (const [id, checked] of [["all", true], ["none", false]]) {
    byId(id).addEventListener("click", () => { for (const box of boxes()) { box.checked = checked; box.dispatchEvent(new Event("change")); } });
  }
  try {
    const response = await fetch("tasks");
    if (!response.ok) throw new Error(`status ${response.status}`);
    served = await response.json();
  } catch (error) {
    complain("The server does not answer. Is it still running?", String(error.message));
    return;
  }
  byId("bundle").textContent = `Model: ${served.bundle}. At most ${served.max_proteins} proteins at once, of ${served.max_residues} residues`
    + (served.encoder_limit ? `; chains beyond ${served.encoder_limit} are read in overlapping windows.` : ".");
  byId("tasks").append(...served.tasks.map(choice));
  for (const task of served.tasks) {
    const told = [task.description, `Answers: ${task.choices}.`, task.reference].filter(Boolean).join(" ");
    byId("about").append(make("dt", { textContent: task.title }), make("dd", { textContent: told }));
  }
  const second = served.tasks.some((task) => task.chains === 2), molecule = served.tasks.some((task) => task.molecule);
  if (second) byId("more-input").append(input("second", "Second chain, for questions about pairs"));
  if (molecule) byId("more-input").append(input("smiles", "Molecule as SMILES, for questions that read one"));
  document.body.dataset.ready = "yes";
}

function input(id, title) {
  return make("div", {}, make("label", { htmlFor: id, textContent: title }), make("input", { type: "text", id, spellcheck: false, autocomplete: "off" }));
}

const boxes = () => [...byId("tasks").querySelectorAll("input[type=checkbox]")];

function choice(task) {
  const needs = task.fields.some((field) => field.required) || task.chains === 2 || task.molecule;
  const box = make("input", { type: "checkbox", value: task.name, checked: !needs });
  const told = [words(task.kind) + (task.unit ? ` in ${task.unit}` : ""), task.chains === 2 ? "two chains" : "", task.molecule ? "molecule" : "",
    task.calibrated ? "calibrated" : ""].filter(Boolean).join(", ");
  const title = make("span", {}, task.title, make("span", { className: "note", textContent: told }));
  const label = make("label", {}, box, title);
  const fields = make("div", { className: "fields", hidden: !box.checked || !task.fields.length });
  box.addEventListener("change", () => { fields.hidden = !box.checked || !task.fields.length; });
  for (const field of task.fields) {
    const select = make("select");
    select.dataset.field = field.field;
    if (!field.required) select.append(make("option", { value: "", textContent: "not known" }));
    select.append(...field.values.map((value) => make("option", { value, textContent: value })));
    // One value a field: where two tasks share it, they share what is chosen.
    select.addEventListener("change", () => {
      for (const other of document.querySelectorAll("select[data-field]")) if (other.dataset.field === field.field) other.value = select.value;
    });
    fields.append(make("label", {}, words(field.field), select));
  }
  return make("div", { className: "task" }, label, fields);
}

function count() {
  const text = byId("proteins").value.trim();
  const found = text.startsWith(">") ? text.split(/^>/m).slice(1).map((part) => part.split(/\r?\n/).slice(1).join("")) : text ? [text] : [];
  const residues = found.map((part) => part.replace(/\s/g, "").length);
  const total = residues.reduce((sum, one) => sum + one, 0);
  byId("count").textContent = found.length ? `${plural(total, "residue")}${found.length > 1 ? ` in ${found.length} proteins` : ""}.` : "No residue yet.";
}

function wanted() {
  const text = byId("proteins").value.trim(), second = byId("second")?.value.replace(/\s/g, "") || "";
  const tasks = boxes().filter((box) => box.checked).map((box) => box.value);
  if (!text) throw new Error("Paste a sequence first, or press an example.");
  if (!tasks.length) throw new Error("Choose at least one question.");
  const chosen = served.tasks.filter((task) => tasks.includes(task.name));
  const fields = {};
  for (const select of document.querySelectorAll("select[data-field]")) {
    const asked = chosen.some((task) => task.fields.some((field) => field.field === select.dataset.field));
    if (asked && select.value) fields[select.dataset.field] = select.value;
  }
  const body = { proteins: text, tasks, fields, long: "window" };
  const smiles = byId("smiles")?.value.trim();
  if (!text.startsWith(">") || second || smiles) {
    const lines = text.startsWith(">") ? text.split(/\r?\n/) : [">protein", text];
    if (lines.slice(1).some((line) => line.startsWith(">"))) throw new Error("A second chain or a molecule goes with one protein, not with several.");
    const first = lines.slice(1).join("").replace(/\s/g, "");
    const id = lines[0].slice(1).trim().split(/\s/)[0];
    body.proteins = [{ id: id || "protein", sequence: second ? [first, second] : first, ...(smiles ? { smiles } : {}) }];
  }
  return body;
}

async function ask(event) {
  event.preventDefault();
  complain("");
  let body;
  try { body = wanted(); } catch (error) { complain(error.message); return; }
  byId("ask").disabled = true;
  byId("progress").textContent = "Asking …";
  try {
    const response = await fetch("predict", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    const answer = await response.json();
    if (response.ok) {
      last = answer;
      show(answer, body);
      byId("answers-title").focus();
    } else if (response.status === 503) {
      complain(`The server is busy. Try again in ${response.headers.get("retry-after") || "a few"} s.`, answer.code);
    } else {
      complain(answer.detail, answer.code, answer.where);
    }
  } catch (error) {
    complain("No answer came from the server. Is it still running?", String(error.message));
  }
  byId("ask").disabled = false;
  byId("progress").textContent = "";
}

function complain(message, code = "", where = {}) {
  const place = Object.entries(where).map(([name, value]) => `${name} ${value}`).join(", ");
  const told = message ? [message, place && !message.includes(place) ? ` (${place})` : "", code ? " " : ""] : [];
  byId("problem").replaceChildren(...told.filter(Boolean));
  if (message && code) byId("problem").append(make("code", { textContent: code }));
  if (message) byId("answers").hidden = true;
}

// Answers ----------------------------------------------------------------------------------------------------------------

function show(answer, body) {
  const results = byId("results");
  results.replaceChildren();
  for (const protein of answer.proteins) {
    const mine = answer.predictions.filter((one) => one.id === protein.id);
    if (!mine.length) continue;
    const sizes = protein.sequences.map((chain) => plural(chain.length, "residue")).join(" and ");
    results.append(make("h3", {}, `${protein.id} `, make("span", { className: "note", textContent: sizes })));
    results.append(table(mine, protein));
    for (const one of mine) if (tracked(one, protein)) results.append(figure(one, protein));
  }
  if (answer.failures.length) {
    const list = make("ul", {}, ...answer.failures.map((one) => make("li", { textContent: one.detail })));
    results.append(make("h3", { textContent: "Not answered" }), list);
  }
  const text = JSON.stringify(body).replaceAll("'", "'\\''");
  byId("curl").textContent = `curl -s ${location.origin}${location.pathname}predict \\\n  -H 'content-type: application/json' \\\n  -d '${text}'`;
  byId("answers").hidden = false;
}

const about = (one) => served.tasks.find((task) => task.name === one.task);

function table(answers, protein) {
  const rows = answers.map((one) => {
    const likely = chances(one);
    const cell = make("td", { className: "answer" }, answerText(one, protein), likely ? make("span", { className: "soft", textContent: ` ${likely}` }) : null);
    const score = make("td", { className: "number", textContent: share(one.score) });
    const meaning = make("td", { className: "note", textContent: one.score_meaning + (one.status === "ok" ? "" : `; ${words(one.status).replaceAll(";", ", ")}`) });
    cell.dataset.name = "Answer"; score.dataset.name = "Score"; meaning.dataset.name = "The score is";
    return make("tr", {}, make("th", { scope: "row", textContent: about(one).title }), cell, score, meaning);
  });
  const titles = ["Question", "Answer", "Score", "What the score is"];
  const head = make("tr", {}, ...titles.map((title) => make("th", { scope: "col", textContent: title, className: title === "Score" ? "number" : "" })));
  return make("div", { className: "scroll wide" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}

function answerText(one, protein) {
  const value = one.prediction, chain = protein.sequences[(one.chain || 1) - 1];
  if (one.kind === "number") {
    const range = one.lower === null ? "" : `, ${Math.round(100 * one.interval_level)}% of it within ${number(one.lower)} to ${number(one.upper)}`;
    return `${number(value)}${one.unit ? ` ${one.unit}` : ""}${range}`;
  }
  if (one.kind === "residue_set") {
    const names = value.slice(0, 12).map((place) => `${chain[place - 1]}${place}`).join(", ");
    return value.length ? `${names}${value.length > 12 ? ", …" : ""} (${value.length} of ${plural(chain.length, "residue")})` : "no residue";
  }
  if (one.kind === "residue_labels") {
    const labels = labelsOf(one), counts = new Map();
    for (const label of labels) counts.set(label, (counts.get(label) || 0) + 1);
    return [...counts].map(([label, times]) => `${label}: ${plural(times, "residue")}`).join(", ");
  }
  if (one.kind === "segments") return value.map(([label, first, end]) => `${label} ${first}–${end}`).join(", ");
  if (one.kind === "residue_pairs") return value.length ? value.map((pair) => pair.join("–")).join(", ") : "no pair";
  if (Array.isArray(value)) return value.join(", ") || "none";
  return value;
}

function chances(one) {
  if (!["category", "category_set", "category_path"].includes(one.kind) || !one.probabilities) return "";
  const best = Object.entries(one.probabilities).sort((first, second) => second[1] - first[1]).slice(0, 4);
  return `(${best.map(([label, chance]) => `${label} ${share(chance)}`).join(", ")})`;
}

function labelsOf(one) {
  if (one.kind === "segments") return one.prediction.flatMap(([label, first, end]) => Array(end - first + 1).fill(label));
  return one.prediction.includes(" ") ? one.prediction.split(" ") : [...one.prediction];
}

// Tracks -----------------------------------------------------------------------------------------------------------------

function tracked(one, protein) {
  if (RESIDUE_KINDS.includes(one.kind)) return true;
  return one.kind === "sequence" && one.chain && labelsOf(one).length === protein.sequences[one.chain - 1].length;
}

function figure(one, protein) {
  const task = about(one), chain = protein.sequences[(one.chain || 1) - 1];
  const track = one.kind === "residue_set" ? sites(one, chain, task) : strips(one, chain, task);
  const place = make("div", { className: "track" });
  const redraw = () => place.replaceChildren(...rowsOf(track, chain, `${task.title}, ${protein.id}: ${answerText(one, protein)}`));
  redraw();
  narrow.addEventListener("change", redraw);
  const key = make("ul", { className: "key" }, ...track.key.map(([name, text]) => make("li", {}, make("i", { className: name }), text)));
  return make("figure", {}, make("h4", { textContent: task.title }), make("figcaption", { textContent: `${track.caption}${protein.sequences.length > 1 ? ` Chain ${one.chain || 1}.` : ""}` }), key, place, values(track, chain));
}

const narrow = matchMedia("(max-width: 36rem)");

function sites(one, chain, task) {
  const members = new Set(one.prediction), chance = one.probabilities;
  const highest = chance ? Math.max(0, ...chance) : 1, top = [0.1, 0.2, 0.4].find((level) => highest <= level) || 1;
  const inside = (index) => members.has(index + 1);
  const line = one.readout === "risk" && chance && task.threshold <= top ? task.threshold : null;
  return {
    caption: chance ? `Probability that each residue is one, on a scale from 0 to ${top}.` : "Residues that are in the answer.",
    key: [["l0", "in the answer"], ["pale", "other residues"], ...(line === null ? [] : [["dash", `threshold ${share(line)}`]])],
    top, line, member: inside,
    bars: (index) => [{ from: 0, to: (chance ? chance[index] : inside(index) ? 1 : 0) / top, name: inside(index) ? "hit" : "bar" }],
    label: (index) => (inside(index) ? "yes" : "no"), chance: (index) => (chance ? chance[index] : null),
  };
}

function strips(one, chain, task) {
  const labels = labelsOf(one), chance = one.probabilities && typeof one.probabilities[0] === "object" ? one.probabilities : null;
  const names = chance ? Object.keys(chance[0]) : task.labels.length ? task.labels : [...new Set(labels)].sort();
  const ordered = task.labels.length ? task.labels.filter((label) => names.includes(label)) : names;
  const two = ordered.length === 2;
  const colour = (label) => (two ? (label === ordered[0] ? "pale" : "l0") : ordered.includes(label) ? `l${Math.min(ordered.indexOf(label), MOST_LABELS)}` : "pale");
  const single = !chance && Array.isArray(one.probabilities) ? one.probabilities : null;
  const bars = (index) => {
    if (single) return [{ from: 0, to: single[index], name: "bar" }];
    if (!chance) return [];
    if (two) return [{ from: 0, to: chance[index][ordered[1]], name: "l0 chance" }];
    let from = 0;
    return ordered.map((label) => ({ from, to: (from += chance[index][label]), name: `${colour(label)} chance` }));
  };
  const shown = two ? `Probability of ${ordered[1]}` : "Probability of each label, stacked";
  return {
    caption: chance || single ? `${single ? "Probability of each label given those before it" : shown}, from 0 to 1, and the labels below.` : "The label of each residue.",
    key: ordered.slice(0, MOST_LABELS).map((label) => [colour(label), label]).concat(ordered.length > MOST_LABELS ? [["l8", "others"]] : []),
    top: 1, line: null, bars, plain: !chance && !single, member: (index) => two && labels[index] === ordered[1],
    strip: (index) => colour(labels[index]),
    label: (index) => labels[index], chance: (index) => (chance ? chance[index][labels[index]] : single ? single[index] : null),
  };
}

function rowsOf(track, chain, title) {
  // As wide as what is seen: a row of 60 residues on a desk, of 30 on a phone.
  const width = narrow.matches ? 30 : 60, drawn = [];
  const [unit, left, height] = [narrow.matches ? 11.2 : 15, 34, track.plain ? 0 : 64];
  for (let start = 0; start < chain.length && drawn.length < MOST_ROWS / width; start += width) {
    const stop = Math.min(start + width, chain.length), strip = track.strip ? 12 : 0;
    const base = height + 8, letters = base + strip + 12, all = letters + 18;
    const picture = draw("svg", { viewBox: `0 0 ${left + unit * width + 4} ${all}`, role: "img", "aria-label": `${title}. Residues ${start + 1} to ${stop}.` });
    if (height) {
      for (const level of [0, 0.5, 1]) {
        const y = base - height * level;
        picture.append(draw("line", { x1: left, x2: left + unit * (stop - start), y1: y, y2: y, class: level ? "grid" : "axis" }));
        picture.append(draw("text", { x: left - 5, y: y + 4, "text-anchor": "end" }, String(Number((track.top * level).toPrecision(2)))));
      }
    }
    for (let index = start; index < stop; index += 1) {
      const x = left + unit * (index - start);
      for (const bar of track.bars(index)) {
        const size = height * (bar.to - bar.from);
        if (size > 0.05) picture.append(draw("rect", { x: (x + 0.6).toFixed(1), y: (base - height * bar.to).toFixed(2), width: (unit - 1.2).toFixed(1), height: size.toFixed(2), class: bar.name }));
      }
      if (strip) picture.append(draw("rect", { x: x.toFixed(1), y: base + 2, width: (unit + 0.2).toFixed(1), height: strip - 2, class: track.strip(index) }));
      picture.append(draw("text", { x: (x + unit / 2).toFixed(1), y: letters, class: track.member(index) ? "residue member" : "residue" }, chain[index]));
      if (index === start || ((index + 1) % 10 === 0 && index - start > 3)) {
        picture.append(draw("text", { x: (x + unit / 2).toFixed(1), y: letters + 14, "text-anchor": "middle" }, String(index + 1)));
      }
    }
    if (track.line !== null) {
      const y = base - height * track.line / track.top;
      picture.append(draw("line", { x1: left, x2: left + unit * (stop - start), y1: y, y2: y, class: "threshold" }));
    }
    drawn.push(picture);
  }
  if (drawn.length * width < chain.length) drawn.push(make("p", { className: "note", textContent: `The rest of ${chain.length} residues is not drawn; it is in the JSON.` }));
  return drawn;
}

function values(track, chain) {
  const fold = make("details", {}, make("summary", { textContent: "Values of all residues" }));
  // Built when it is opened: it has a row a residue.
  fold.addEventListener("toggle", () => {
    if (fold.childElementCount > 1) return;
    const head = make("tr", {}, ...["Position", "Residue", "Answer", "Probability"].map((title) => make("th", { scope: "col", textContent: title })));
    const rows = [...chain].slice(0, MOST_ROWS).map((residue, index) =>
      make("tr", {}, ...[index + 1, residue, track.label(index), share(track.chance(index))].map((text) => make("td", { textContent: text }))));
    const region = make("div", { className: "values", tabIndex: 0, role: "region" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
    region.setAttribute("aria-label", "Values of all residues");
    fold.append(region);
  });
  return fold;
}

function save() {
  const address = URL.createObjectURL(new Blob([JSON.stringify(last, null, 1)], { type: "application/json" }));
  make("a", { href: address, download: "answers.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

begin();
