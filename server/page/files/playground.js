// Texts in, similarities out.
import { $, make, svg, short, request, Unauthorized } from "./dom.js";
import { cosines, principal } from "./math.js";

const MOST = 64;
let texts = [], matrix = [], low = 0, chosen = -1, other = -1, points = [], running = null;

/** offer fills the list of models with those that can be asked. */
export function offer(models) {
  const usable = models.filter((m) => (m.kind === "embedding" || m.kind === "reranker") && (m.state === "ready" || m.state === "degraded"));
  const select = $("model");
  const names = usable.map((m) => m.name + "\n" + m.kind).join("\n\n");
  if (select.dataset.names !== names) {
    const before = select.value;
    select.replaceChildren(...usable.map((m) => {
      const o = make("option", { value: m.name, textContent: m.name });
      o.dataset.kind = m.kind;
      return o;
    }));
    if (!usable.length) select.append(make("option", { textContent: "none ready" }));
    if (usable.some((m) => m.name === before)) select.value = before;
    select.dataset.names = names;
    label();
  }
  select.disabled = !usable.length;
  $("go").disabled = !usable.length || running !== null;
}

const kind = () => $("model").selectedOptions[0]?.dataset.kind ?? "embedding";

function label() {
  const ranks = kind() === "reranker";
  $("texts-label").textContent = ranks ? "A query, then texts, one a line" : "Texts, one a line";
  $("go").textContent = ranks ? "Rank" : "Compare";
}

function say(text, bad = false) {
  $("outcome").textContent = text;
  $("outcome").classList.toggle("bad", bad);
}

function figures(list) {
  $("figures").hidden = false;
  $("figures").replaceChildren(...list.map(([name, value]) => make("div", {}, make("dd", { textContent: value }), make("dt", { textContent: name }))));
}

/** start wires the form; askForKey is called when the server wants one. */
export function start(askForKey) {
  $("model").addEventListener("change", label);
  $("texts").addEventListener("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      $("form").requestSubmit();
    }
  });
  $("form").addEventListener("submit", async (e) => {
    e.preventDefault();
    if (running || $("go").disabled) return;
    const lines = $("texts").value.split("\n").map((t) => t.trim()).filter((t) => t);
    const ranks = kind() === "reranker";
    if (lines.length < 2) return say(ranks ? "Write a query and at least one text." : "Write at least two texts.", true);
    if (lines.length > MOST) return say(`${lines.length} texts: the playground takes up to ${MOST}.`, true);
    running = new AbortController();
    $("go").disabled = true;
    say("Asking the server…");
    try {
      await (ranks ? rank(lines) : compare(lines));
    } catch (error) {
      if (error instanceof Unauthorized) {
        say("The server wants an API key.", true);
        askForKey();
      } else {
        say("It failed: " + error.message, true);
      }
    } finally {
      running = null;
      $("go").disabled = $("model").disabled;
    }
  });
}

const ms = (t) => (t < 10 ? t.toFixed(2) : t.toFixed(1)) + " ms";

async function compare(lines) {
  const began = performance.now();
  const answer = await request("/v1/embeddings", { model: $("model").value, input: lines }, running.signal);
  const took = performance.now() - began;
  const vectors = answer.data.slice().sort((a, b) => a.index - b.index).map((d) => d.embedding);
  texts = lines;
  matrix = cosines(vectors);
  low = Math.min(0.9, ...matrix.flat());
  chosen = other = -1;
  say("");
  figures([["round trip", ms(took)], ["texts a second", short(1000 * lines.length / took)], ["tokens", short(answer.usage.prompt_tokens)], ["dimensions", String(vectors[0].length)]]);
  for (const id of ["heat-card", "map-card"]) $(id).hidden = false;
  $("near-title").textContent = "Nearest";
  drawHeat();
  drawMap(principal(vectors));
  choose(0, 0, false);
}

async function rank(lines) {
  const [query, ...rest] = lines;
  const began = performance.now();
  const answer = await request("/rerank", { model: $("model").value, query, texts: rest }, running.signal);
  const took = performance.now() - began;
  say("");
  figures([["round trip", ms(took)], ["pairs a second", short(1000 * rest.length / took)], ["texts", String(rest.length)]]);
  for (const id of ["heat-card", "map-card"]) $(id).hidden = true;
  $("near-title").textContent = "Ranked";
  $("readout").textContent = query;
  const scores = answer.map((r) => r.score), least = Math.min(0, ...scores), most = Math.max(1e-9, ...scores);
  list(answer.map((r) => [rest[r.index], r.score, (r.score - least) / (most - least)]));
}

const level = (c) => (c - low) / (1 - low || 1);

function drawHeat() {
  const n = texts.length;
  $("heat-empty").hidden = true;
  $("legend").hidden = false;
  $("low").textContent = low.toFixed(2);
  $("high").textContent = "1.00";
  const room = Math.min($("heat").clientWidth || 600, 640) - 44;
  const cell = Math.max(9, Math.min(46, Math.floor(room / n) - 2));
  const table = make("table", { className: "heat", role: "grid" });
  table.setAttribute("aria-label", "Cosine of each pair of texts. Arrow keys move.");
  table.style.setProperty("--cell", cell + "px");
  const head = make("tr", {}, make("td", { hidden: true }), make("th", { scope: "col" }));
  const labels = cell >= 14;
  texts.forEach((_, j) => head.append(headCell("col", j, labels)));
  table.append(make("thead", {}, head));
  const body = make("tbody");
  texts.forEach((_, i) => {
    const row = make("tr", {}, headCell("row", i, labels));
    texts.forEach((_, j) => {
      const v = level(matrix[i][j]);
      const td = make("td", { tabIndex: -1, role: "gridcell" });
      td.dataset.at = i + "," + j;
      td.setAttribute("aria-label", `${i + 1} and ${j + 1}: ${matrix[i][j].toFixed(3)}`);
      td.style.setProperty("--v", v.toFixed(3));
      td.classList.toggle("strong", v > 0.5);
      if (cell >= 34) td.textContent = matrix[i][j].toFixed(2).replace(/^-?0\.00$/, "0").replace(/^(-?)0\./, "$1.");
      row.append(td);
    });
    body.append(row);
  });
  table.append(body);
  table.addEventListener("click", (e) => {
    const at = e.target.dataset?.at?.split(",").map(Number);
    if (at) choose(at[0], at[1], true);
  });
  table.addEventListener("pointerover", (e) => {
    const at = e.target.dataset?.at?.split(",").map(Number);
    if (at && e.pointerType === "mouse") readout(at[0], at[1]);
  });
  table.addEventListener("pointerleave", () => readout(chosen, other));
  table.addEventListener("keydown", (e) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -n], End: [0, n] }[e.key];
    if (!step) return;
    e.preventDefault();
    const clamp = (x) => Math.max(0, Math.min(n - 1, x));
    choose(clamp(chosen + step[0]), clamp(other + step[1]), true);
  });
  $("heat").replaceChildren(table);
}

function headCell(scope, i, labels) {
  const th = make("th", { scope, textContent: labels ? String(i + 1) : "", title: texts[i] });
  th.dataset.at = i + "," + i;
  return th;
}

function drawMap({ points: at, covered }) {
  const W = Math.max(280, Math.min(900, $("map").clientWidth || 640)), H = Math.round(W < 480 ? W * 0.8 : W * 0.62), pad = 30;
  $("map-empty").hidden = true;
  $("covered").textContent = `two principal components, ${Math.round(100 * covered)} % of the variance`;
  const range = (k) => {
    const xs = at.map((p) => p[k]);
    return [Math.min(...xs), Math.max(...xs)];
  };
  const [x0, x1] = range(0), [y0, y1] = range(1);
  const scale = Math.min((W - 2 * pad) / (x1 - x0 || 1), (H - 2 * pad) / (y1 - y0 || 1)); // one for both, so that distances are true
  const place = ([x, y]) => [W / 2 + (x - (x0 + x1) / 2) * scale, H / 2 - (y - (y0 + y1) / 2) * scale];
  const zero = place([0, 0]);
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": "Map of the texts. Arrow keys go to the next text." },
    svg("rect", { class: "frame", x: 0.5, y: 0.5, width: W - 1, height: H - 1, rx: 8 }),
    svg("line", { class: "axis", x1: zero[0], x2: zero[0], y1: 1, y2: H - 1 }), svg("line", { class: "axis", x1: 1, x2: W - 1, y1: zero[1], y2: zero[1] }),
    svg("g", { id: "links" }));
  points = at.map((p, i) => {
    const [x, y] = place(p);
    const g = svg("g", { class: "point", tabindex: i ? -1 : 0, role: "button", "aria-label": `${i + 1}: ${texts[i]}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
      svg("circle", { r: 12 }), svg("title"));
    g.lastChild.textContent = texts[i];
    const text = svg("text");
    text.textContent = i + 1;
    g.append(text);
    g.at = [x, y];
    g.addEventListener("click", () => choose(i, i, false, true));
    g.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Enter: 0, " ": 0 }[e.key];
      if (step === undefined) return;
      e.preventDefault();
      const next = (i + step + texts.length) % texts.length;
      choose(next, next, false, true);
    });
    picture.append(g);
    return g;
  });
  $("map").replaceChildren(picture);
}

/** choose selects a pair in the table, or a text with itself, and shows what is near the first. */
function choose(i, j, focusCell, focusPoint = false) {
  chosen = i;
  other = j;
  for (const e of document.querySelectorAll(".heat .on")) e.classList.remove("on");
  for (const e of document.querySelectorAll(".heat td[tabindex='0']")) e.tabIndex = -1;
  const td = document.querySelector(`.heat td[data-at="${i},${j}"]`);
  td.classList.add("on");
  td.tabIndex = 0;
  if (focusCell) td.focus();
  document.querySelector(`.heat th[scope=row][data-at="${i},${i}"]`).classList.add("on");
  points.forEach((g, k) => {
    const v = level(matrix[i][k]);
    g.style.setProperty("--v", v.toFixed(3));
    g.classList.toggle("strong", v > 0.5);
    g.classList.toggle("on", k === i || k === j);
    g.setAttribute("tabindex", k === i ? 0 : -1);
  });
  if (focusPoint) points[i].focus();
  const near = texts.map((t, k) => [t, matrix[i][k], level(matrix[i][k]), k]).filter((r) => r[3] !== i).sort((a, b) => b[1] - a[1]);
  const links = document.querySelector("#links");
  links.replaceChildren(...near.slice(0, 3).filter((r) => r[2] > 0.2).map(([, , v, k]) => {
    const [x1, y1] = points[i].at, [x2, y2] = points[k].at;
    return svg("line", { class: "link", x1, y1, x2, y2, "stroke-width": (0.5 + 3 * v).toFixed(2) });
  }));
  readout(i, j);
  list(near.slice(0, 8).map(([t, c, v, k]) => [`${k + 1}  ${t}`, c, v]));
}

function readout(i, j) {
  if (i < 0) return;
  $("readout").textContent = i === j ? `${i + 1}  ${texts[i]}` : `${matrix[i][j].toFixed(3)} between ${i + 1} “${texts[i]}” and ${j + 1} “${texts[j]}”`;
}

function list(rows) {
  $("near-empty").hidden = true;
  $("near").replaceChildren(...rows.map(([text, score, v]) => {
    const bar = make("span");
    bar.style.setProperty("--v", Math.max(0, Math.min(1, v)).toFixed(3));
    return make("li", {}, make("span", { className: "score", textContent: score.toFixed(3) }), make("span", { className: "text", textContent: text, title: text }), make("div", { className: "track" }, bar));
  }));
}
