// Asks the server how it is, once a second while somebody looks, and starts the playground.
import { $, request, setKey, Unauthorized } from "./dom.js";
import { drawTiles, setState, show } from "./status.js";
import { offer, start } from "./playground.js";

const EVERY = 1000;
let timer = 0, declined = false;

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  let wait = EVERY;
  try {
    const s = await request("/api/status", null, AbortSignal.timeout(10_000));
    show(s);
    offer(s.models);
  } catch (error) {
    if (error instanceof Unauthorized) {
      setState("failed", "key wanted");
      $("key").hidden = false;
      if (!declined) askForKey();
      return;
    }
    setState("offline", "no answer");
    wait = 3 * EVERY;
  }
  timer = setTimeout(poll, wait);
}

function askForKey() {
  $("key").hidden = false;
  if (!$("ask").open) $("ask").showModal();
}

$("ask").addEventListener("close", () => {
  declined = $("ask").returnValue !== "ok";
  if (!declined) {
    setKey($("secret").value.trim());
    $("secret").value = "";
    poll();
  }
});
$("key").addEventListener("click", askForKey);
document.addEventListener("visibilitychange", poll);

const themes = { "": ["Auto", "Colours: as the system has them"], light: ["Light", "Colours: light"], dark: ["Dark", "Colours: dark"] };

function setTheme(theme) {
  const known = theme in themes ? theme : "";
  document.documentElement.dataset.theme = known;
  $("theme").textContent = themes[known][0];
  $("theme").setAttribute("aria-label", themes[known][1]);
  localStorage.setItem("vkbert-theme", known);
}

$("theme").addEventListener("click", () => {
  const order = Object.keys(themes);
  setTheme(order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length]);
});

setTheme(localStorage.getItem("vkbert-theme") ?? "");
drawTiles();
start(askForKey);
poll();
