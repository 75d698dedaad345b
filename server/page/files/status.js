// The tiles and the models: what /api/status says.
import { $, make, svg, short, bytes, duration } from "./dom.js";

const SAMPLES = 120;

const tiles = [
  { title: "Tokens", unit: "a second", now: (s) => sum(s, "tokens_per_second"), more: (s) => `${short(sum(s, "texts_per_second"))} texts a second` },
  { title: "Requests", unit: "a second", now: (s) => s.requests.per_second, more: (s) => `${short(s.requests.total)} in all · ${short(s.requests.rejected)} refused · ${short(s.requests.failed)} failed` },
  { title: "Latency, median", unit: "ms", now: (s) => s.requests.latency_ms.p50, more: (s) => `p90 ${short(s.requests.latency_ms.p90)} · p99 ${short(s.requests.latency_ms.p99)} ms` },
  { title: "In flight", unit: "", now: (s) => s.requests.in_flight, more: (s) => `of ${s.requests.max_concurrent} · ${short(s.models.reduce((n, m) => n + (m.load?.queued_tokens ?? 0), 0))} tokens queued` },
];

const sum = (s, key) => s.models.reduce((n, m) => n + (m.load?.[key] ?? 0), 0);

export function drawTiles() {
  for (const t of tiles) {
    t.history = [];
    t.value = make("div", { className: "value", textContent: "–" });
    t.under = make("div", { className: "more" });
    t.line = svg("path", { class: "spark-line" });
    t.area = svg("path", { class: "spark-area" });
    const chart = svg("svg", { viewBox: `0 0 ${SAMPLES - 1} 40`, preserveAspectRatio: "none", "aria-hidden": "true" }, t.area, t.line);
    $("tiles").append(make("article", { className: "tile" }, make("h3", { textContent: t.title }), t.value, t.under, chart));
  }
}

function updateTiles(s) {
  for (const t of tiles) {
    const now = t.now(s);
    t.value.replaceChildren(short(now), make("span", { textContent: t.unit }));
    t.under.textContent = t.more(s);
    t.history = [...t.history, now].slice(-SAMPLES);
    const most = Math.max(...t.history, 1e-9);
    const at = t.history.map((x, i) => `${SAMPLES - t.history.length + i} ${(38 - 34 * (x / most)).toFixed(2)}`);
    const d = "M" + at.join("L");
    t.line.setAttribute("d", d);
    t.area.setAttribute("d", `${d}L${SAMPLES - 1} 40L${SAMPLES - t.history.length} 40Z`);
  }
}

const kinds = { discrete: "GPU", integrated: "integrated GPU", virtual: "virtual GPU", software: "software Vulkan", cpu: "CPU" };

function fact(name, value) {
  return make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }));
}

function meter(name, share, text) {
  const m = make("meter", { min: 0, max: 1, value: Math.max(0, Math.min(1, share || 0)), title: name });
  m.setAttribute("aria-label", name);
  return [make("div", {}, make("span", { textContent: name }), make("span", { textContent: text })), m];
}

const percent = (x) => Math.round(100 * Math.min(1, x || 0)) + " %";

function drawModel(m) {
  const card = make("article", { className: "model" });
  const state = make("span", { className: "state", textContent: m.state });
  state.dataset.state = m.state;
  card.append(make("h3", {}, m.name, state, ...(m.kind && m.kind !== "embedding" ? [make("span", { className: "badge", textContent: m.kind })] : [])));
  if (m.model && m.model !== m.name) card.append(make("p", { className: "source", textContent: m.model }));
  if (m.error) card.append(make("p", { className: "error", textContent: m.error }));
  if (m.device) card.append(make("p", { className: "device" }, make("span", { className: "badge", textContent: kinds[m.device_kind] ?? m.device_kind }), m.device));
  const facts = make("dl", { className: "facts" });
  if (m.architecture) facts.append(fact("architecture", m.architecture));
  if (m.dimensions) facts.append(fact("dimensions", m.dimensions));
  if (m.max_tokens) facts.append(fact("tokens a text", m.max_tokens.toLocaleString("en")));
  if (m.dtype) facts.append(fact("dtype", m.dtype));
  const memory = (m.weight_bytes ?? 0) + (m.arena_bytes ?? 0);
  if (memory) facts.append(fact("device memory", bytes(memory)));
  if (m.prompts?.length) facts.append(fact("prompts", m.prompts.join(", ")));
  card.append(facts);
  if (m.load) {
    const [busy, busyMeter] = meter("device busy", m.load.busy, percent(m.load.busy));
    const [full, fullMeter] = meter("batch fill", m.load.batch_fill, percent(m.load.batch_fill));
    card.append(make("div", { className: "meters" }, busy, full, busyMeter, fullMeter));
    const counts = make("dl", { className: "facts" });
    counts.append(fact("waiting", short(m.load.waiting_calls)), fact("texts", short(m.load.sequences)), fact("tokens", short(m.load.tokens)), fact("batches", short(m.load.batches)));
    card.append(counts);
  }
  return card;
}

/** show draws a status. */
export function show(s) {
  $("version").textContent = s.version ?? "";
  setState(s.state);
  $("uptime").textContent = "up " + duration(s.uptime_seconds);
  updateTiles(s);
  $("models").replaceChildren(...(s.models.length ? s.models.map(drawModel) : [make("p", { className: "note", textContent: "No model is loaded." })]));
}

export function setState(state, text = state) {
  const e = $("state");
  if (e.dataset.state !== state || e.textContent !== text) {
    e.dataset.state = state;
    e.textContent = text;
  }
}
