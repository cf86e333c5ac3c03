"use strict";

// A minute of half seconds, as the server keeps it.
const HISTORY = 120;
// What a frame waits for says nothing about the work that it takes; a live source is waited for in `capture`.
const WAITS = new Set(["capture", "frame_wait", "engine_wait", "output_wait"]);
const STATES = { running: "good", starting: "warn", restarting: "warn", stalled: "bad", stopped: "bad" };

const byId = (id) => document.getElementById(id);
let chosen = null;
let history = [];
let shownSources = "";
let streams = 0;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function number(value, digits = 1) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

const milliseconds = (value) => number(value, value !== null && value !== undefined && value < 10 ? 2 : 1);

function duration(seconds) {
  const whole = Math.floor(seconds);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

function setChip(id, text, kind) {
  byId(id).textContent = text;
  byId(id).className = `chip ${kind}`;
}

function draw(svg, values) {
  const known = values.map((value) => value ?? null);
  const most = Math.max(...known.filter((value) => value !== null), 1e-9);
  const points = known
    .map((value, index) => (value === null ? null : `${((HISTORY - known.length + index) / (HISTORY - 1)) * 100},${23 - (value / most) * 21}`))
    .filter((point) => point !== null);
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  let line = svg.firstChild;
  if (!line) {
    line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    svg.append(line);
  }
  line.setAttribute("points", points.join(" "));
}

function mainFigures(snapshot) {
  return Object.fromEntries(snapshot.sources.map((source) => [source.name, {
    frames_per_s: source.frames_per_s,
    age_ms: source.age_ms && source.age_ms.p50,
    stages: Object.fromEntries(Object.entries(source.stages).map(([stage, figures]) => [stage, figures.p50])),
  }]));
}

function past(source, pick) {
  return history.map((figures) => (figures[source.name] ? pick(figures[source.name]) : null));
}

function show(snapshot) {
  history = snapshot.history || [...history, mainFigures(snapshot)].slice(-HISTORY);
  const source = snapshot.sources.find((one) => one.name === chosen) || snapshot.sources[0];
  byId("network").textContent = snapshot.network || "Edgewright";
  document.title = snapshot.network ? `${snapshot.network} – Edgewright` : "Edgewright";
  const engine = [snapshot.settings.backend, snapshot.settings.executed_precision || snapshot.settings.precision];
  byId("engine").textContent = engine.filter(Boolean).join(" ");
  byId("engine").hidden = !byId("engine").textContent;
  setChip("health", snapshot.health.ok ? "healthy" : "not healthy", snapshot.health.ok ? "good" : "bad");
  byId("reasons").replaceChildren(...snapshot.health.reasons.map((reason) => element("li", {}, reason)));
  showEvents(snapshot.events);
  showSources(snapshot.sources);
  byId("uptime").textContent = `in ${duration(snapshot.uptime_s)}`;
  if (source) showSource(source);
}

function showSources(sources) {
  const names = sources.map((source) => source.name);
  const key = JSON.stringify(names);
  if (key !== shownSources) {
    shownSources = key;
    chosen = names.includes(chosen) ? chosen : names[0];
    byId("sources").hidden = names.length < 2;
    byId("sources").replaceChildren(...names.map(sourceButton));
    watch();
  }
  for (const button of byId("sources").children) button.setAttribute("aria-pressed", button.value === chosen);
}

function sourceButton(name) {
  const button = element("button", { type: "button", value: name }, name);
  button.addEventListener("click", () => {
    chosen = name;
    watch();
  });
  return button;
}

function showSource(source) {
  setChip("state", source.state, STATES[source.state] || "");
  byId("source").textContent = source.name;
  const size = source.size_hw ? `${source.size_hw[1]} × ${source.size_hw[0]}` : "";
  byId("frame").textContent = source.result ? `frame ${source.result.frame}, ${size}` : "";
  byId("rate").textContent = number(source.frames_per_s);
  byId("age").replaceChildren(...(source.age_ms ? [milliseconds(source.age_ms.p50), element("small", {}, ` ms, 95 % ${milliseconds(source.age_ms.p95)}`)] : ["–"]));
  byId("frames").textContent = number(source.frames, 0);
  byId("dropped").textContent = number(source.dropped, 0);
  byId("lost").textContent = [
    source.dropped ? `${number((100 * source.dropped) / (source.frames + source.dropped))} % of all` : "",
    source.skipped ? `${number(source.skipped, 0)} unreadable` : "",
  ].filter(Boolean).join(", ");
  draw(byId("rate-line"), past(source, (figures) => figures.frames_per_s));
  draw(byId("age-line"), past(source, (figures) => figures.age_ms));
  showStages(source);
  if (source.result) showResult(source.result, source.size_hw);
}

function showStages(source) {
  const stages = Object.entries(source.stages);
  const worked = stages.filter(([stage]) => !WAITS.has(stage));
  const most = Math.max(...worked.map(([, figures]) => figures.p95), 1e-9);
  const body = byId("stages");
  const names = stages.map(([stage]) => stage).join();
  if (body.dataset.names !== names) {
    body.dataset.names = names;
    body.replaceChildren(...stages.map(([stage]) => stageRow(stage)));
  }
  stages.forEach(([stage, figures], index) => {
    const [, bar, middle, high, trend] = body.children[index].children;
    for (const part of bar.querySelectorAll("i")) part.style.width = `${Math.min(100, (100 * figures[part.className]) / most)}%`;
    middle.textContent = milliseconds(figures.p50);
    high.textContent = milliseconds(figures.p95);
    draw(trend.firstChild, past(source, (at) => at.stages[stage]));
  });
}

function stageRow(stage) {
  const bar = element("div", { class: "bar" }, element("i", { class: "p95" }), element("i", { class: "p50" }));
  const line = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  line.setAttribute("class", "line");
  line.setAttribute("aria-hidden", "true");
  const cells = [element("td", {}, stage.replaceAll("_", " ")), element("td", { class: "wide" }, bar)];
  cells.push(element("td", { class: "n" }), element("td", { class: "n" }), element("td", { class: "trend" }, line));
  return element("tr", WAITS.has(stage) ? { class: "waits" } : {}, ...cells);
}

function showResult(result, sizeHw) {
  const [titles, rows] = tableOf(result, sizeHw);
  byId("objects-count").textContent = rows.length + result.left_out || "";
  byId("objects-head").replaceChildren(element("tr", {}, ...titles.map((title, index) => element("th", index ? { class: "n" } : {}, title))));
  byId("objects").replaceChildren(...rows.map(([thing, ...cells]) => element("tr", {}, nameCell(thing), ...cells.map((cell) => element("td", { class: "n" }, cell)))));
  byId("objects-note").textContent = result.left_out ? `The ${rows.length} surest are shown.` : rows.length ? "" : "Nothing was found in this frame.";
}

function tableOf(result, sizeHw) {
  const pixels = sizeHw[0] * sizeHw[1];
  const share = (count) => `${number((100 * count) / pixels)} %`;
  if (result.semantic) return [["class", "of the picture"], result.semantic.map((one) => [one, share(one.pixels)])];
  if (result.panoptic) return [["segment", "score", "of the picture"], result.panoptic.map((one) => [one, number(one.score, 2), share(one.area)])];
  const tracked = result.detections.some((one) => "track_id" in one);
  const rows = result.detections.map((one) => {
    const [x1, y1, x2, y2] = one.box;
    const place = `${number(x1, 0)}, ${number(y1, 0)}`;
    return [one, ...(tracked ? [`${one.track_id ?? "–"}`] : []), number(one.score, 2), place, `${number(x2 - x1, 0)} × ${number(y2 - y1, 0)}`];
  });
  return [["object", ...(tracked ? ["track"] : []), "score", "left, top", "size"], rows];
}

function nameCell(thing) {
  const dot = element("span", { class: "dot" });
  dot.style.backgroundColor = thing.color;
  return element("td", {}, dot, thing.label ?? `class ${thing.class_id}`);
}

function showEvents(events) {
  const rows = Object.entries(events).map(([event, count]) => element("tr", {}, element("td", {}, event.replaceAll("_", " ")), element("td", { class: "n" }, number(count, 0))));
  byId("events").replaceChildren(...rows);
  byId("no-events").hidden = rows.length > 0;
}

function watch() {
  const picture = byId("picture");
  // Nobody sees a hidden page, and nothing is encoded for it.
  if (chosen === null || document.hidden) {
    picture.removeAttribute("src");
    return;
  }
  streams += 1;
  picture.src = `/picture.mjpeg?source=${encodeURIComponent(chosen)}&n=${streams}`;
}

function setPictured(is) {
  byId("picture").hidden = !is;
  byId("no-picture").hidden = is;
}

function connect() {
  const events = new EventSource("/events");
  events.onopen = () => {
    byId("banner").hidden = true;
    watch();
  };
  events.onmessage = (event) => show(JSON.parse(event.data));
  events.addEventListener("over", () => lost("The run has ended; this page waits for the next one."));
  events.onerror = () => {
    if (byId("banner").hidden) lost("Not connected; trying again.");
    // A refusal ends an EventSource for good.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  };
}

function lost(sentence) {
  byId("banner").textContent = sentence;
  byId("banner").hidden = false;
  setChip("health", "not connected", "warn");
}

byId("picture").addEventListener("load", () => setPictured(true));
byId("picture").addEventListener("error", () => {
  setPictured(false);
  if (byId("picture").hasAttribute("src") && byId("banner").hidden) setTimeout(watch, 3000);
});
document.addEventListener("visibilitychange", watch);
// Picture and figures go on for ever: begun before the page is loaded, they would keep it loading.
window.addEventListener("load", connect);
