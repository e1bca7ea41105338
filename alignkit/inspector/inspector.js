"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const tools = $("tools"), tip = $("tip"), list = $("cards");
const LEVELS = 12, SIDES = 6, NOTHING = -32768;
const make = (tag, text, attributes) => {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const key in attributes || {}) made.setAttribute(key, attributes[key]);
  return made;
};
const svg = (tag, attributes) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
};
const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
const said = (value) => value === undefined || Number.isNaN(value) ? "\u2013"
  : Math.abs(value) >= 1000 ? value.toFixed(0) : Math.abs(value) < 0.00005 ? "0"
  : value.toFixed(Math.abs(value) < 0.1 ? 4 : 3);

/* From the compact numbers to one array per column, and from the page's elements to their places. */
const occurrences = new Map();
data.cards.forEach((card, number) => {
  card.number = number;
  card.element = $(card.key);
  card.text = card.element.textContent.toLowerCase();
  const shown = card.element.querySelectorAll(".t");
  card.panes.forEach((pane, place) => {
    pane.card = card;
    pane.place = place;
    pane.box = shown[place];
    pane.name = pane.box.parentNode.querySelector("h4").firstChild.textContent;
    pane.tokens = [...pane.box.children];
    const steps = new DataView(bytes(pane.d).buffer), ids = bytes(pane.i).buffer, length = pane.tokens.length;
    pane.columns = {};
    pane.c.forEach((column, index) => {
      pane.columns[data.columns[column].name] = Float64Array.from({length}, (_, t) => {
        const step = steps.getInt16(2 * (index * length + t), true);
        return step === NOTHING ? NaN : step * pane.s[index];
      });
    });
    for (const column of pane.z) pane.columns[data.columns[column].name] = new Float64Array(length);
    const [ratio, change, after] = ["log-ratio before", "change of log-prob", "log-ratio after"];
    if (pane.columns[ratio] && pane.columns[change]) {
      pane.columns[after] = pane.columns[ratio].map((value, t) => value + pane.columns[change][t]);
    }
    pane.ids = [...(pane.w ? new Uint32Array(ids) : new Uint16Array(ids))];
    pane.tokens.forEach((token, t) => {
      token.pane = pane;
      token.t = t;
      token.tabIndex = t ? -1 : 0;
      token.planted = token.classList.contains("planted");
      const id = pane.ids[t];
      if (id === undefined) return;
      if (!occurrences.has(id)) occurrences.set(id, []);
      occurrences.get(id).push(token);
    });
  });
});

/* State, kept in the address. */
const columns = new Map(data.columns.map((column) => [column.name, column]));
const first = data.show || (data.columns.length ? data.columns[0].name : "");
const START = {show: first, source: "", find: "", rank: "", min: "", max: "", cut: "", ess: "", top: "", sort: "row",
  down: "", pin: ""};
const state = Object.assign({}, START);
const read = () => {
  const hash = location.hash.slice(1);
  if (!hash.includes("=")) return;
  const given = new URLSearchParams(hash);
  for (const key in START) state[key] = given.has(key) ? given.get(key) : START[key];
  if (!columns.has(state.show)) state.show = first;
};
const keep = () => {
  const set = new URLSearchParams();
  for (const key in START) if (state[key] !== START[key]) set.set(key, state[key]);
  history.replaceState(null, "", set.size ? "#" + set : location.pathname + location.search);
};

/* Colours. */
const kindOf = (value, column) => {
  if (!(column.top > 0) || Number.isNaN(value)) return "";
  if (!column.signed) {
    const level = Math.min(LEVELS, Math.round(LEVELS * value / column.top));
    return level > 0 ? "w" + level : "";
  }
  const level = Math.min(SIDES, Math.round(SIDES * Math.abs(value) / column.top));
  return level ? (value < 0 ? "n" : "p") + level : "";
};
const paint = () => {
  const column = columns.get(state.show);
  for (const card of data.cards) for (const pane of card.panes) {
    const values = pane.columns[state.show];
    pane.tokens.forEach((token, t) => {
      const kind = values ? kindOf(values[t], column) : "";
      token.className = (kind + (token.planted ? " planted" : "")).trim();
    });
  }
  const legend = $("legend") || tools.insertAdjacentElement("afterend", make("p", "", {id: "legend", class: "legend"}));
  legend.replaceChildren(make("span", state.show + " "));
  const numbers = column.signed ? [-6, -4, -2, 0, 2, 4, 6].map((n) => n / SIDES) : [2, 4, 6, 8, 10, 12].map((n) => n / LEVELS);
  for (const share of numbers) {
    const value = share * column.top;
    legend.append(make("i", value.toPrecision(2), {class: kindOf(value, column)}));
  }
  const sign = column.signed ? "; negative numbers are hatched, their bar is dashed" : "";
  legend.append(make("span", " " + column.about + sign + "."));
  data.cards.forEach((card) => { if (card.plot) plot(card); });
  light(pinned || hovered);
};

/* One token is looked at: all panes follow. */
let hovered = null, pinned = null, lit = [];
const light = (token) => {
  for (const one of lit) one.classList.remove("on", "same", "at");
  lit = [];
  const mark = (one, kind) => { one.classList.add(kind); lit.push(one); };
  tip.hidden = !token;
  for (const card of data.cards) if (card.plot) cursor(card, token && token.pane.card === card ? token.t : null);
  if (!token) return;
  const pane = token.pane, id = pane.ids[token.t];
  for (const one of occurrences.get(id) || []) if (one !== token) mark(one, "same");
  for (const other of pane.card.panes) if (other !== pane && other.tokens[token.t]) mark(other.tokens[token.t], "at");
  mark(token, "on");
  for (const row of pane.card.element.querySelectorAll(".numbers tbody tr")) {
    const isOn = row.pane === pane && row.t === token.t;
    const isSame = !isOn && ((id !== undefined && row.pane.ids[row.t] === id) || row.t === token.t);
    if (isOn || isSame) mark(row, isOn ? "on" : "same");
    if (isOn) row.parentNode.closest(".scrolls").scrollTop = row.offsetTop - 60;
  }
  describe(token);
};
const facts = (token) => {
  const pane = token.pane, found = [["place", token.t + 1 + " of " + pane.tokens.length]];
  if (pane.ids.length) found.push(["token id", data.ids[pane.ids[token.t]]]);
  if (pane.f && pane.f[token.t] !== undefined) found.push(["bytes", pane.f[token.t]]);
  for (const {name} of data.columns) if (pane.columns[name]) found.push([name, said(pane.columns[name][token.t])]);
  if (token.planted) found.push(["planted", "yes"]);
  return found;
};
const describe = (token) => {
  const pane = token.pane, found = facts(token);
  tip.replaceChildren(make("b", token.textContent.trim() || token.textContent),
    make("span", `${pane.card.key}, ${pane.name}${pinned === token ? ", pinned (Esc)" : ""}`));
  for (const [name, value] of found) {
    const one = make("span", name);
    one.append(make("output", value));
    tip.append(one);
  }
  token.setAttribute("aria-label", token.textContent + ": " + found.map((pair) => pair.join(" ")).join(", "));
};
const pin = (token) => {
  pinned = pinned === token ? null : token;
  state.pin = pinned ? [pinned.pane.card.key, pinned.pane.place, pinned.t].join(",") : "";
  keep();
  light(pinned || hovered);
};
const tokenOf = (event) => event.target.closest && event.target.closest(".t i");
list.addEventListener("mouseover", (event) => { hovered = tokenOf(event) || null; if (!pinned) light(hovered); });
list.addEventListener("mouseleave", () => { hovered = null; if (!pinned) light(null); });
list.addEventListener("focusin", (event) => { const token = tokenOf(event); if (token) { hovered = token; if (!pinned) light(token); } });
list.addEventListener("click", (event) => { const token = tokenOf(event); if (token) { token.focus({preventScroll: true}); pin(token); } });
list.addEventListener("keydown", (event) => {
  const token = tokenOf(event);
  if (!token || event.ctrlKey || event.metaKey || event.altKey) return;
  const pane = token.pane, panes = pane.card.panes;
  const beside = (way) => { const other = panes[pane.place + way]; return other && other.tokens[Math.min(token.t, other.tokens.length - 1)]; };
  const ways = {ArrowRight: () => pane.tokens[token.t + 1], ArrowLeft: () => pane.tokens[token.t - 1], ArrowDown: () => beside(1),
    ArrowUp: () => beside(-1), Home: () => pane.tokens[0], End: () => pane.tokens[pane.tokens.length - 1]};
  if (event.key === "Enter" || event.key === " ") { pin(token); event.preventDefault(); return; }
  if (event.key === "Escape") { if (pinned) pin(pinned); return; }
  if (!ways[event.key]) return;
  event.preventDefault();
  const next = ways[event.key]();
  if (!next) return;
  for (const one of next.pane.tokens) if (one.tabIndex === 0) one.tabIndex = -1;
  next.tabIndex = 0;
  if (pinned) pin(pinned);
  next.focus();
});

/* A plot by position and a table of all numbers, made when they are looked at. */
const WIDE = 600, HIGH = 70, DASHES = ["none", "7 3", "2 3", "9 3 2 3", "4 2 1 2", "12 3", "1 2"];
const plot = (card) => {
  const known = card.panes.filter((pane) => pane.columns[state.show]);
  const longest = Math.max(2, ...known.map((pane) => pane.tokens.length));
  const all = known.flatMap((pane) => [...pane.columns[state.show]]).filter((value) => !Number.isNaN(value));
  const low = Math.min(0, ...all), high = Math.max(low + 1e-9, 0, ...all);
  const x = (t) => (8 + (t / (longest - 1)) * (WIDE - 16)).toFixed(1), y = (value) => (HIGH - 4 - ((value - low) / (high - low)) * (HIGH - 8)).toFixed(1);
  const drawing = svg("svg", {viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${state.show} by position: ${known.map((pane) => pane.name).join(", ")}; from ${said(low)} to ${said(high)}`});
  drawing.append(svg("path", {class: "zero", d: `M0 ${y(0)}H${WIDE}`}));
  known.forEach((pane, index) => {
    let path = "", pen = "M";
    pane.columns[state.show].forEach((value, t) => {
      if (Number.isNaN(value)) { pen = "M"; return; }
      path += pen + x(t) + " " + y(value);
      pen = "L";
    });
    drawing.append(svg("path", {d: path, class: "line s" + (index % 8), "vector-effect": "non-scaling-stroke",
      "stroke-dasharray": DASHES[index % DASHES.length]}));
  });
  card.line = svg("path", {class: "cursor", d: "", "vector-effect": "non-scaling-stroke"});
  drawing.append(card.line);
  card.place = x;
  const words = make("p", `${state.show} by position, from ${said(low)} to ${said(high)}:`);
  known.forEach((pane, index) => {
    const sample = svg("svg", {viewBox: "0 0 24 8", "aria-hidden": "true", class: "sample"});
    sample.append(svg("path", {d: "M0 4H24", class: "line s" + (index % 8), "stroke-dasharray": DASHES[index % DASHES.length]}));
    const named = make("span");
    named.append(sample, pane.name);
    words.append(named, " ");
  });
  card.plot.replaceChildren(drawing, words);
};
const cursor = (card, t) => { if (card.line) card.line.setAttribute("d", t === null ? "" : `M${card.place(t)} 0V${HIGH}`); };
const numbers = (card, details) => {
  const table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  const names = data.columns.map((column) => column.name).filter((name) => card.panes.some((pane) => pane.columns[name]));
  for (const name of ["response", "place", "token", "id", ...names]) head.append(make("th", name, {scope: "col"}));
  for (const pane of card.panes) pane.tokens.forEach((token, t) => {
    const row = body.insertRow();
    row.pane = pane;
    row.t = t;
    const id = pane.ids.length ? data.ids[pane.ids[t]] : "";
    row.append(make("td", pane.name), make("td", t + 1, {class: "number"}), make("td", token.textContent), make("td", id, {class: "number"}));
    for (const name of names) row.append(make("td", pane.columns[name] ? said(pane.columns[name][t]) : "", {class: "number"}));
  });
  const box = make("div", null, {class: "scrolls", tabindex: 0});
  box.append(table);
  details.append(box);
};
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) {
    const card = data.cards.find((one) => one.element === entry.target);
    seen.unobserve(entry.target);
    card.plot = make("div", null, {class: "plot"});
    const details = make("details", null, {class: "numbers"});
    details.append(make("summary", "numbers of every token"));
    details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) numbers(card, details); });
    card.element.append(card.plot, details);
    plot(card);
    light(pinned || hovered);
  }
}, {rootMargin: "300px"});
for (const card of data.cards) seen.observe(card.element);

/* Filters and order. */
const latest = (card) => card.after === undefined ? card.before : card.after;
const change = (card) => card.after === undefined || card.before === undefined ? undefined : card.after - card.before;
const ORDERS = {row: (card) => card.number, source: (card) => card.source, margin: latest, "margin change": change,
  ESS: (card) => card.ess, "rank of planted token": (card) => card.rank, cut: (card) => card.cut, tokens: (card) => card.tokens};
const RANKS = {"": () => true, "ranked wrongly": (card) => latest(card) < 0, "wrong before": (card) => card.before < 0,
  "turned right": (card) => card.before <= 0 && card.after > 0, "turned wrong": (card) => card.before >= 0 && card.after < 0};
const within = (value, low, high) => (low === "" || value >= +low) && (high === "" || value <= +high);
const passes = (card) => (!state.source || card.source === state.source)
  && (!state.find || card.text.includes(state.find.toLowerCase()))
  && (RANKS[state.rank] || RANKS[""])(card)
  && ((state.min === "" && state.max === "") || (latest(card) !== undefined && within(latest(card), state.min, state.max)))
  && (!state.cut || card.cut > 0)
  && (state.ess === "" || card.ess < +state.ess)
  && (state.top === "" || card.rank > +state.top);
const arrange = () => {
  const by = ORDERS[state.sort] || ORDERS.row, way = state.down ? -1 : 1;
  const order = [...data.cards].sort((a, b) => {
    const x = by(a), y = by(b);
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined) || a.number - b.number;
    return way * (x < y ? -1 : x > y ? 1 : 0) || a.number - b.number;
  });
  let count = 0;
  for (const card of order) {
    list.append(card.element);
    card.element.hidden = !passes(card);
    count += !card.element.hidden;
  }
  $("count").textContent = `${count} of ${data.cards.length}`;
};

/* The tools. */
const fields = {};
const field = (key, label, made, event, isThere = true) => {
  if (!isThere) return;
  const outer = make("label", label);
  outer.append(made);
  made.dataset.key = key;
  fields[key] = made;
  made.addEventListener(event, () => {
    state[key] = made.type === "checkbox" ? (made.checked ? "1" : "") : made.value;
    keep();
    if (key === "show") paint(); else arrange();
  });
  tools.append(outer);
};
const choice = (values) => {
  const made = make("select");
  for (const [value, text] of values) made.append(make("option", text, {value}));
  return made;
};
const input = (type, attributes) => make("input", null, Object.assign({type}, attributes));
const has = (key) => data.cards.some((card) => card[key] !== undefined);
const build = () => {
  const sources = [...new Set(data.cards.map((card) => card.source))], hasPairs = data.cards.some((card) => latest(card) !== undefined);
  const orders = Object.keys(ORDERS).filter((name) => data.cards.some((card) => ORDERS[name](card) !== undefined));
  field("show", "show", choice(data.columns.map((column) => [column.name, column.name])), "change", data.columns.length > 0);
  field("source", "source", choice([["", "all"], ...sources.map((name) => [name, name])]), "change", sources.length > 1);
  field("find", "text", input("search", {placeholder: "prompt or response"}), "input");
  field("rank", "ranking", choice(Object.keys(RANKS).map((name) => [name, name || "all"])), "change", hasPairs);
  field("min", "margin from", input("number", {step: "any"}), "input", hasPairs);
  field("max", "to", input("number", {step: "any"}), "input", hasPairs);
  field("ess", "ESS below", input("number", {step: "0.05", min: 0, max: 1}), "input", has("ess"));
  field("top", "planted token not among the heaviest", input("number", {min: 0, step: 1}), "input", has("rank"));
  field("cut", "cut", input("checkbox"), "change", data.cards.some((card) => card.cut));
  field("sort", "sort by", choice(orders.map((name) => [name, name])), "change");
  field("down", "descending", input("checkbox"), "change");
  const reset = make("button", "reset", {type: "button"});
  reset.addEventListener("click", () => { Object.assign(state, START); keep(); apply(); });
  tools.append(reset, make("span", "", {id: "count", role: "status"}));
  tools.hidden = false;
};
const apply = () => {
  for (const key in fields) {
    if (fields[key].type === "checkbox") fields[key].checked = state[key] !== "";
    else fields[key].value = state[key];
  }
  arrange();
  const [key, place, t] = state.pin.split(",");
  const card = data.cards.find((one) => one.key === key);
  pinned = (card && card.panes[place] && card.panes[place].tokens[t]) || null;
  if (columns.size) paint(); else light(pinned);
};
addEventListener("hashchange", () => { if (location.hash.includes("=")) { read(); apply(); } });
build();
read();
apply();
if (pinned) { pinned.scrollIntoView({block: "center"}); light(pinned); }
})();
