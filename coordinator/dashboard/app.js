// The shell of the page: asks for the state every other second, keeps the chosen view, the theme and the focus.
// All texts are set as text, never as markup: names come from outside.
import { views } from "./views.js";

const EVERY_MS = 2000;
const names = Object.keys(views);
const main = document.getElementById("view");
const live = document.getElementById("live");
const tabs = [...document.querySelectorAll("[role=tab]")];
let state = null;
let current = names.includes(location.hash.slice(1)) ? location.hash.slice(1) : "network";

function select(name, focus) {
  current = name;
  history.replaceState(null, "", "#" + name);
  for (const tab of tabs) {
    const chosen = tab.id === "tab-" + name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen) {
      main.setAttribute("aria-labelledby", tab.id);
      if (focus) tab.focus();
    }
  }
  draw();
}

for (const [at, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab.id.slice(4), false));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(tabs[(to + tabs.length) % tabs.length].id.slice(4), true);
  });
}
addEventListener("hashchange", () => {
  const name = location.hash.slice(1);
  if (names.includes(name) && name !== current) select(name, false);
});

function draw() {
  if (!state) return;
  const c = state.coordinator;
  document.getElementById("who").textContent = `${short(c.account)}, ai-link ${c.version}, fee ${c.fee}`;
  const at = main.scrollTop;
  main.replaceChildren(...views[current](state));
  main.scrollTop = at;
}

const short = (text) => text.slice(0, 6) + "…" + text.slice(-4);

function say(kind, text) {
  live.dataset.state = kind;
  // Told to screen readers when it changes, not every other second.
  if (live.textContent !== text) live.textContent = text;
}

async function ask() {
  try {
    const answer = await fetch("api/state", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(await answer.text());
    const next = await answer.json();
    if (next.format !== 1) {
      say("lost", "this page is of another version than the coordinator: load it again");
      return;
    }
    state = next;
    say("live", "live");
    document.documentElement.dataset.at = String(state.at);
    draw();
  } catch {
    say("lost", state ? "the coordinator does not answer; shown is what it said last" : "the coordinator does not answer");
  }
}

async function run() {
  for (;;) {
    if (!document.hidden) await ask();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

const theme = document.getElementById("theme");
const themes = ["system", "light", "dark"];
function paint(choice) {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  theme.textContent = "Theme: " + choice;
  theme.setAttribute("aria-label", choice === "system" ? "Theme: as the system" : "Theme: " + choice);
}
function stored(choice) {
  // Storage may be forbidden: then the choice lasts as long as the page.
  try {
    if (choice) localStorage.setItem("theme", choice);
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}
let choice = themes.includes(stored()) ? stored() : "system";
paint(choice);
theme.addEventListener("click", () => {
  choice = themes[(themes.indexOf(choice) + 1) % themes.length];
  stored(choice);
  paint(choice);
});

select(current, false);
run();
