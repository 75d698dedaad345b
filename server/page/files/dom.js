// Elements, numbers, and requests to the server.

export const $ = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

/** make makes an element with properties and children; text goes in as text. */
export function make(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k in e && k !== "role") e[k] = v;
    else e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}

export function svg(tag, attributes = {}, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

/** short is a number in few characters. */
export function short(n) {
  if (!Number.isFinite(n)) return "–";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (n >= size) return (n / (unit === "k" ? 1e3 : size)).toFixed(1) + " " + unit;
  }
  if (n === 0) return "0";
  if (n >= 100) return Math.round(n).toLocaleString("en");
  return Number.isInteger(n) ? String(n) : n.toFixed(n >= 10 ? 1 : 2);
}

export function bytes(n) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) if (n >= size) return (n / size).toFixed(n >= 100 * size ? 0 : 1) + " " + unit;
  return n + " B";
}

export function duration(seconds) {
  const s = Math.floor(seconds);
  const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s % 60} s` : `${s} s`;
}

const KEY = "vkbert-key";

/** Unauthorized says that the server wants a key, or another one. */
export class Unauthorized extends Error {}

export const setKey = (key) => sessionStorage.setItem(KEY, key);

/** request sends JSON, or gets it. Errors have the server's words. */
export async function request(path, body, signal) {
  const headers = { Accept: "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = "Bearer " + key;
  if (body) headers["Content-Type"] = "application/json";
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store", signal });
  const text = await response.text();
  let answer = null;
  try { answer = JSON.parse(text); } catch { /* not an answer of this server, or an empty one */ }
  if (response.status === 401) throw new Unauthorized("the server wants an API key");
  if (!response.ok) throw new Error(answer?.error?.message ?? answer?.error ?? `the server answered ${response.status}`);
  if (answer === null) throw new Error("the server's answer is not JSON");
  return answer;
}
