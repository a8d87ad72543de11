// The page: what the node tells is put into the document as text, never as HTML.

import { Stop, View } from "/connection.js";
import { drawMap, drawTimeline } from "/drawing.js";

const MOST = 200, STALE_MS = 500, SILENT_S = 0.5;
const byId = (id) => document.getElementById(id);
const values = new Map(); // key -> value, in order of first appearance
const live = { ageMs: null, atMs: 0 };
let nowS = 0, nowAtMs = 0, silentS = {}, chosen = null, drawn = [], shownKey = null, explainedKey = null;

// --- small helpers -------------------------------------------------------------------------------

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function setText(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}

const ofKind = (kind) => [...values].filter(([key]) => key.startsWith(`${kind}/`)).map(([, value]) => value);
const plain = (word) => word.toLowerCase().replaceAll("_", " ");
const percent = (p) => (p === null || p === undefined ? "–" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`);
const robotNow = () => nowS + (performance.now() - nowAtMs) / 1000;

function ago(seconds) {
  const s = Math.max(0, seconds);
  return s < 90 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}

// --- the connection ------------------------------------------------------------------------------

let token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("token") || "";
if (location.hash) history.replaceState(null, "", location.pathname);

const view = new View(() => token, { begin, update, state: onConnection, dead: () => stop.connect() });
const stop = new Stop(() => token);

function begin() {
  values.clear();
  shownKey = explainedKey = null;
  sessionStorage.setItem("token", token);
}

function onConnection(state) {
  const pill = byId("connection");
  pill.textContent = { good: "connected", lost: "connection lost", refused: "token needed" }[state];
  pill.className = `pill ${state === "good" ? "good" : "bad"}`;
  document.body.classList.toggle("lost", state !== "good");
  byId("login").hidden = state !== "refused";
  if (state === "refused") {
    sessionStorage.removeItem("token");
    byId("token").focus();
  }
  showAlert();
}

function showAlert() {
  const governor = values.get("governor") || {}, emergency = values.get("emergency") || {};
  const texts = [];
  if (view.state === "lost") texts.push("Connection lost: what you see is old, and the robot does not hear you. Use its own stop button.");
  if (stop.isPressed && view.state !== "good") texts.push("The emergency stop is NOT sent yet; it will be as soon as the connection is back.");
  if (governor.emergency_stop) texts.push(`EMERGENCY STOP: ${governor.detail}. Release it, then give a new instruction.`);
  else if (emergency.wanted) texts.push("Emergency stop: the governor has not answered yet.");
  if (emergency.answer && (governor.emergency_stop || emergency.wanted)) texts.push(emergency.answer);
  if (view.state === "good" && governor.state && (silentS.governor || 0) > SILENT_S) texts.push("The governor is silent.");
  const node = byId("alert");
  if (node.textContent !== texts.join(" ")) node.textContent = texts.join(" ");
  node.hidden = !texts.length;
  byId("stop").classList.toggle("pressed", Boolean(governor.emergency_stop));
  byId("release").hidden = !(governor.emergency_stop || emergency.wanted);
}

// --- updates -------------------------------------------------------------------------------------

async function update(told) {
  nowS = told.now_s;
  nowAtMs = performance.now();
  silentS = told.silent_s;
  const kinds = new Set(told.changes.map(([key]) => key.split("/")[0]));
  for (const [key, value] of told.changes) {
    if (value === null) values.delete(key);
    else values.set(key, value);
  }
  kinds.forEach(prune);
  for (const [kind, show] of Object.entries(SHOWS)) if (kinds.has(kind)) show();
  showAlert();
  await Promise.all(told.pictures.map(showPicture));
}

function prune(kind) {
  const keys = [...values.keys()].filter((key) => key.startsWith(`${kind}/`));
  keys.slice(0, Math.max(0, keys.length - MOST)).forEach((key) => values.delete(key));
}

async function showPicture(picture) {
  if (picture.name === "live") {
    live.ageMs = picture.age_ms;
    live.atMs = performance.now();
    if (picture.data) await put(byId("live"), picture.data);
    return;
  }
  const [kind, key] = picture.name.split("/"), decision = decisionNow();
  if (!decision || decision.key !== key) return;
  if (kind === "explanation") {
    if (picture.data) await put(byId("explained"), picture.data);
    return;
  }
  if (picture.data) await put(byId("seen"), picture.data);
  else { // it may still be on its way to the node
    byId("seen").removeAttribute("src");
    setTimeout(() => { if (shownKey === key && !byId("seen").src) view.send({ do: "picture", id: key }); }, 500);
  }
}

function put(image, blob) {
  const before = image.src, url = URL.createObjectURL(blob);
  return new Promise((done) => {
    const end = () => { if (before.startsWith("blob:")) URL.revokeObjectURL(before); done(); };
    image.onload = image.onerror = end;
    image.src = url;
  });
}

// --- what is shown -------------------------------------------------------------------------------

function decisionNow() {
  if (chosen && values.has(`decision/${chosen}`)) return values.get(`decision/${chosen}`);
  chosen = null;
  return ofKind("decision").at(-1) || null;
}

function showDecision() {
  const last = ofKind("decision").at(-1), decision = decisionNow();
  if (last) showDoing(last);
  if (!decision) return;
  byId("follow").hidden = !chosen;
  const ages = decision.image_age_ms === undefined ? "" : `; the picture was ${Math.round(decision.image_age_ms)} ms old, the model took ${Math.round(decision.latency_ms)} ms`;
  const why = decision.hold ? `hold: ${plain(decision.hold)}${decision.times > 1 ? ` (${decision.times} times)` : ""}` : `${decision.words}, ${percent(decision.probability)}`;
  setText("seen-caption", `decision ${decision.id}: ${why}${ages}`);
  setText("reply", [decision.reply && `“${decision.reply}”`, decision.detail].filter(Boolean).join(" "));
  showProbabilities(decision);
  showExplanation(decision);
  if (decision.key !== shownKey) {
    shownKey = decision.key;
    view.send({ do: "picture", id: decision.key });
  }
  showDecisions();
}

// Where the node may ask the model again, it does on a click; else the command is shown, to be run where the bag is.
function showExplanation(decision) {
  const folder = values.get("recording")?.folder, told = values.get(`explanation/${decision.key}`);
  const isTold = told?.state === "told";
  setText("explanation", !decision.reply ? "The model was not asked."
    : !folder ? `Nothing is recorded: start with record:=true. Then: vila explain RUN --decision ${decision.id}`
    : !values.get("explains") ? `vila explain ${folder} --decision ${decision.id}`
    : told ? told.text : "");
  byId("explained").hidden = !isTold;
  if (isTold && explainedKey !== decision.key) {
    explainedKey = decision.key;
    byId("explained").removeAttribute("src");
    view.send({ do: "explained", id: decision.key });
  }
}

function showDoing(decision) {
  const state = decision.hold ? `holds: ${plain(decision.hold)}` : `${decision.words}: ${decision.state}`;
  const far = decision.done && decision.wanted ? `, ${decision.done} of ${decision.wanted}` : "";
  setText("doing", `${state}${far}${decision.fault ? ` (${plain(decision.fault)}: ${decision.detail})` : ""}`);
  byId("part").value = decision.part || 0;
}

function showProbabilities(decision) {
  const names = values.get("actions") || [], probabilities = decision.probabilities || [];
  const body = byId("probabilities");
  while (body.rows.length < names.length) {
    const row = body.insertRow();
    row.append(element("th", "", { scope: "row" }), element("td"), element("td", "", { class: "value" }));
    row.cells[1].append(element("div", "", { class: "bar", "aria-hidden": "true" }));
  }
  names.forEach((name, index) => {
    const row = body.rows[index], p = probabilities[index];
    row.className = name === decision.words ? "chosen" : "";
    row.cells[0].textContent = name;
    row.cells[1].firstChild.style.width = `${100 * (p || 0)}%`;
    row.cells[2].textContent = p === undefined ? "" : percent(p);
  });
}

function showDecisions() {
  const list = byId("decisions"), decisions = ofKind("decision");
  const rows = decisions.slice(-40).reverse().map((one) => {
    const button = element("button", `${one.id}: ${one.hold ? `hold, ${plain(one.hold)}` : `${one.words}, ${percent(one.probability)}, ${one.state}`}`, { type: "button", "aria-pressed": String(one.key === chosen) });
    button.dataset.key = one.key;
    const item = element("li");
    item.append(button);
    return item;
  });
  replaceList(list, rows);
  showMap();
}

// A list is made anew as a whole; the keyboard's place in it is kept.
function replaceList(list, rows) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  list.replaceChildren(...rows);
  if (focused !== undefined) [...list.querySelectorAll("button")].find((one) => one.dataset.key === focused)?.focus();
}

function choose(key) {
  chosen = key;
  shownKey = null;
  showDecision();
}

function showMap() {
  const decisions = ofKind("decision").filter((one) => one.at), pose = values.get("pose");
  drawn = drawMap(byId("map"), ofKind("path"), decisions, pose, decisionNow()?.key);
  if (pose) setText("pose", `x ${pose[0].toFixed(2)} m, y ${pose[1].toFixed(2)} m, ${Math.round((180 / Math.PI) * pose[2])}°; ${pose[3].toFixed(2)} m/s, ${pose[4].toFixed(2)} rad/s`);
}

function showMissions() {
  const missions = ofKind("mission"), last = missions.at(-1);
  const words = (one) => {
    const who = one.source ? ` (by ${one.source})` : "";
    const end = one.running ? "running" : `${one.outcome}${one.error_code ? `: ${one.error_code} ${one.error_msg}` : ""}`;
    return `“${one.instruction}”${who}: ${end}`;
  };
  if (last) {
    setText("mission", words(last));
    byId("mission").className = last.running ? "" : last.outcome === "reached" ? "good" : "warn";
  }
  replaceList(byId("missions"), missions.slice(-50).reverse().map((one) => {
    const button = element("button", words(one), { type: "button", title: "write it into the box again" });
    button.dataset.key = one.id;
    button.dataset.text = one.instruction;
    const item = element("li");
    item.append(button);
    return item;
  }));
}

function showGovernor() {
  const governor = values.get("governor");
  if (!governor) return;
  const reason = governor.reason ? `, ${plain(governor.reason)}: ${governor.detail}` : "";
  const speed = governor.speed < 1 && governor.state === "LIMITED" ? `, ${Math.round(100 * governor.speed)} % of the speed` : "";
  setText("governor", `${plain(governor.state)}${speed}${reason}`);
  byId("governor").className = { READY: "good", LIMITED: "warn", STOPPED: "warn", REVOKED: "bad" }[governor.state] || "";
  showNumbers();
}

function showNavigator() {
  const navigator = values.get("navigator");
  if (navigator) setText("navigator", [navigator.state, navigator.detail].filter(Boolean).join(": "));
}

function showEvents() {
  const events = ofKind("event"), now = robotNow();
  drawTimeline(byId("timeline"), events, now);
  replaceList(byId("events"), events.slice(-50).reverse().map((one) => {
    const length = `${(one.end_s - one.start_s).toFixed(1)} s`;
    const state = one.open ? `goes on, for ${length}` : `${ago(now - one.end_s)} ago, for ${length}`;
    return element("li", `${one.label}: ${state}, ${percent(one.probability)}, ± ${one.error_s.toFixed(2)} s${one.camera ? `, ${one.camera}` : ""}`);
  }));
}

function showQueries() {
  replaceList(byId("queries"), ofKind("query").map((one) => {
    const button = element("button", "×", { type: "button", "aria-label": `look out for “${one.text}” no longer` });
    button.dataset.key = one.id;
    const item = element("li", one.text);
    item.append(button);
    return item;
  }));
}

function showQuestions() {
  replaceList(byId("questions"), ofKind("question").slice(-20).reverse().map((one) => element("li", `“${one.text}”: ${answer(one)}`)));
}

function answer(one) {
  if (one.state === "asked") return `looking, ${percent(one.progress)}`;
  if (one.state === "failed") return one.error;
  const [from, to] = one.searched_s;
  if (!one.found) return `not seen in the last ${ago(to - from)}`;
  const times = one.intervals.map(([start, end, p]) => `from ${ago(to - start)} to ${ago(to - end)} before, ${percent(p)}`);
  return `${times.join("; ")}; ± ${one.error_s.toFixed(2)} s`;
}

function showNumbers() {
  const stats = values.get("stats"), governor = values.get("governor");
  const rows = [];
  if (stats) {
    rows.push(["Decision", `${Math.round(stats.latency_ms)} ms`], ["Picture's age", `${Math.round(stats.image_age_ms)} ms when it was answered`]);
    rows.push(["Dropped frames", String(stats.dropped_frames)], ["Holds", String(stats.holds)], ["Late answers", String(stats.late_answers)]);
    rows.push(["Refused", `${stats.refused_actions} actions`], ["History", `${stats.history_frames} frames`]);
    rows.push(["Encoded", `${stats.cache[1]} frames anew, ${stats.cache[0]} kept`], ["Model", stats.model]);
  }
  if (governor) rows.push(["Not passed", `${governor.refused} commands`]);
  byId("numbers").replaceChildren(...rows.map(([name, value]) => {
    const row = element("div");
    row.append(element("dt", name), element("dd", value));
    return row;
  }));
}

function showHealth() {
  const rows = ofKind("health").map((one) => element("li", `${one.name}: ${one.message}`, { class: { ok: "good", warning: "warn" }[one.level] || "bad" }));
  byId("health").replaceChildren(...rows);
}

function showNotes() {
  replaceList(byId("notes"), ofKind("note").slice(-20).reverse().map((one) => {
    const time = new Date(1000 * one.time_s).toLocaleTimeString();
    return element("li", `${time} ${one.text}`, { class: { good: "good", error: "bad" }[one.level] || "" });
  }));
}

const SHOWS = {
  robot: () => setText("robot", values.get("robot").name),
  actions: showDecision, decision: showDecision, path: showMap, pose: showMap, mission: showMissions, governor: showGovernor,
  navigator: showNavigator, event: showEvents, query: showQueries, question: showQuestions, stats: showNumbers,
  health: showHealth, recording: showDecision, explains: showDecision, explanation: showDecision, note: showNotes,
};

setInterval(() => {
  const age = live.ageMs === null ? null : live.ageMs + performance.now() - live.atMs;
  setText("age", age === null ? "–" : `${Math.round(age)} ms`);
  byId("age").className = `number ${age !== null && age > STALE_MS ? "bad" : ""}`;
  showAlert();
}, 100);
setInterval(() => { if (ofKind("event").length) showEvents(); }, 1000);
addEventListener("resize", () => { showMap(); showEvents(); });

// --- what is asked for ---------------------------------------------------------------------------

function onSubmit(form, box, request) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId(box).value.trim();
    if (text && view.send(request(text)) && form !== "go") byId(box).value = "";
  });
}

onSubmit("go", "instruction", (text) => ({ do: "go", text }));
onSubmit("watch", "watched", (text) => ({ do: "watch", text }));
onSubmit("ask", "asked", (text) => ({ do: "ask", text }));
byId("cancel").addEventListener("click", () => view.send({ do: "cancel" }));
byId("follow").addEventListener("click", () => choose(null));
byId("explain").addEventListener("click", (event) => {
  const isShown = byId("explaining").hidden, decision = decisionNow();
  byId("explaining").hidden = !isShown;
  event.target.setAttribute("aria-expanded", String(isShown));
  if (isShown && decision?.reply && values.get("explains")) {
    choose(decision.key); // it stays while the robot decides on
    view.send({ do: "explain", id: decision.key });
  }
});
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  byId("token").value = "";
  view.connect();
  stop.connect();
});

const onButtons = (id, act) => byId(id).addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) act(button.dataset);
});
onButtons("queries", (data) => view.send({ do: "unwatch", query_id: data.key }));
onButtons("decisions", (data) => choose(data.key === chosen ? null : data.key));
onButtons("missions", (data) => { byId("instruction").value = data.text; byId("instruction").focus(); });

byId("map").addEventListener("click", (event) => {
  const distance = ([x, y]) => Math.hypot(x - event.offsetX, y - event.offsetY);
  const nearest = drawn.filter((one) => distance(one) < 20).sort((a, b) => distance(a) - distance(b))[0];
  choose(nearest ? nearest[2] : null);
});

// --- the emergency stop --------------------------------------------------------------------------

function press() {
  stop.press();
  showAlert();
}

byId("stop").addEventListener("pointerdown", press); // not the click, which comes when the finger is lifted
byId("stop").addEventListener("click", press); // of a keyboard or a screen reader
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.repeat) return;
  event.preventDefault();
  press();
}, { capture: true });
byId("release").addEventListener("click", () => stop.release());
byId("hold").addEventListener("change", (event) => stop.hold(event.target.checked));
