// The views: each takes the state and gives elements. Nothing here sets markup from text.
import { map } from "./map.js";

/** An element with attributes and children; children that are no elements become text. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}
function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const count = (n) => n.toLocaleString("en");
const short = (text) => el("code", { title: text }, text.slice(0, 6) + "…" + text.slice(-4));
const tag = (text, kind = text) => el("span", { class: "tag " + kind }, text);
const time = (ms) => el("time", { datetime: new Date(ms).toISOString() }, new Date(ms).toLocaleTimeString("en-GB"));
const ms = (n) => (n === null ? "–" : n >= 1000 ? n / 1000 + " s" : n + " ms");
const bytes = (n) => (n >= 2 ** 30 ? (n / 2 ** 30).toFixed(1) + " GiB" : (n / 2 ** 20).toFixed(0) + " MiB");

function cards(...pairs) {
  return el("dl", { class: "cards" }, ...pairs.map(([name, value, unit]) =>
    el("div", { class: "card" }, el("dt", {}, name), el("dd", {}, value, unit ? el("small", {}, " " + unit) : null))));
}

/** `columns`: a heading, and whether it holds numbers. */
function table(title, columns, rows, empty, unlisted = 0) {
  const section = el("section", {}, el("h2", {}, title));
  if (rows.length === 0) {
    section.append(el("p", { class: "empty" }, empty));
    return section;
  }
  const head = columns.map(([name, number]) => el("th", number ? { scope: "col", class: "n" } : { scope: "col" }, name));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell, i) =>
    el("td", columns[i][1] ? { class: "n" } : {}, ...(Array.isArray(cell) ? cell : [cell])))));
  section.append(el("table", {}, el("caption", { class: "visually-hidden" }, title),
    el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body)));
  if (unlisted > 0) section.append(el("p", { class: "empty" }, `and ${count(unlisted)} more`));
  return section;
}

function network(state) {
  const workers = state.workers.items;
  const by = (path) => workers.filter((worker) => worker.link?.path === path).length +
    state.others.filter((other) => other.path === path).reduce((sum, other) => sum + other.count, 0);
  const line = (kind) => svg("svg", { viewBox: "0 0 40 12", "aria-hidden": "true" }, svg("line", { class: kind, x1: 1, y1: 6, x2: 39, y2: 6 }));
  const legend = [["link direct", "direct link"], ["link punched", "hole-punched link"], ["link relayed", "relayed link"],
    ["group mpc", "worked together, mpc"], ["group fhe", "fhe"], ["group sealed", "sealed"]];
  return [
    cards(["Workers ready", `${workers.filter((w) => w.presence === "fresh").length} of ${count(workers.length + state.workers.unlisted)}`],
      ["Direct links", count(by("direct"))], ["Punched", count(by("punched"))], ["Relayed", count(by("relayed"))],
      ["Jobs running", count(workers.reduce((sum, w) => sum + w.active, 0)), "parts"],
      ["Open or unpaid", count(state.coordinator.live_jobs), "jobs"], ["Epoch", count(state.coordinator.epoch)]),
    el("section", { class: "map" }, el("h2", {}, "Network map ", el("small", {}, "links of this coordinator; arcs: groups of the latest jobs")),
      workers.length || state.others.length ? map(state) : el("p", { class: "empty" }, "No worker has registered yet."),
      el("ul", { class: "legend" }, ...legend.map(([kind, text]) => el("li", {}, line(kind), text)))),
  ];
}

const engine = { fhe: "tfhe", mpc: "masked evaluation", sealed: "Candle, ONNX" };

function workers(state) {
  const rows = state.workers.items.map((w) => [
    short(w.peer), short(w.operator),
    el("span", { class: w.presence, title: `silent for ${w.silent_ms} ms` }, w.presence),
    w.link ? el("span", { class: "tags" }, `${w.link.path} ${w.link.transport}${w.link.rtt_ms === null ? "" : ` ${w.link.rtt_ms.toFixed(1)} ms`}`) : el("span", { class: "quiet" }, "none"),
    el("span", { class: "tags" }, ...w.levels.map((level) => el("span", { class: "tag " + level, title: engine[level] }, level))),
    w.roles.join(", "), w.regions.join(", ") || el("span", { class: "quiet" }, "not said"),
    `${w.active} / ${w.capacity}`, count(w.pooled_sessions), count(w.cached_models),
    el("span", {}, count(w.delivered), w.failed ? el("span", { class: "bad" }, ` / ${count(w.failed)}`) : ""),
    [w.price, el("br"), w.bond ? el("span", { class: "quiet" }, w.bond) : el("span", { class: "bad" }, "not bonded")],
    [el("span", { class: "tags" }, `${w.cores} cores, ${bytes(w.memory)}`), el("br"), el("span", { class: "quiet" }, w.software)],
  ]);
  return [table("Workers", [["Worker"], ["Operator"], ["State"], ["Link"], ["Levels"], ["Roles"], ["Where"], ["Busy", 1], ["Pooled", 1],
    ["Models", 1], ["Done / failed", 1], ["Price, bond", 1], ["Machine"]], rows,
  "No worker has registered yet.", state.workers.unlisted),
  el("section", {}, el("h2", {}, "Engines"), el("p", { class: "quiet" },
    ...Object.entries(engine).map(([level, name]) => el("span", { class: "engine" }, tag(level), name))))];
}

function histogram(level) {
  const { bounds_ms: bounds, counts } = level.latency;
  const most = Math.max(...counts, 1);
  const first = Math.max(counts.findIndex((n) => n > 0) - 1, 0);
  const last = Math.min(counts.findLastIndex((n) => n > 0) + 1, counts.length - 1);
  const shown = counts.slice(first, last + 1);
  const w = 420, h = 130, step = w / Math.max(shown.length, 1);
  const bars = shown.flatMap((n, i) => {
    const tall = (h - 18) * (n / most);
    const name = first + i < bounds.length ? "≤ " + ms(bounds[first + i]) : "> " + ms(bounds.at(-1));
    return [svg("rect", { class: "bar " + level.level, x: i * step + 2, y: h - tall, width: Math.max(step - 4, 1), height: tall },
      svg("title", {}, `${name}: ${count(n)}`)),
    n ? svg("text", { x: i * step + step / 2, y: h - tall - 4, "text-anchor": "middle" }, count(n)) : null,
    svg("text", { class: "small", x: i * step + step / 2, y: h + 15, "text-anchor": "middle" }, name)].filter(Boolean);
  });
  const label = `Latency of ${level.level}: half within ${ms(level.p50_ms)}, 99 of 100 within ${ms(level.p99_ms)}`;
  return svg("svg", { viewBox: `0 0 ${w} ${h + 22}`, role: "img", "aria-label": label },
    svg("line", { class: "axis", x1: 0, y1: h, x2: w, y2: h }), ...bars);
}

function jobs(state) {
  const reasons = (list) => list.map((r) => `${r.reason.replaceAll("_", " ")} ${count(r.count)}`).join(", ");
  const levels = state.levels.map((l) => el("section", {},
    el("h2", {}, tag(l.level), " ", el("small", {}, `${count(l.jobs)} jobs, ${count(l.delivered)} delivered`)),
    l.delivered > 0
      ? el("p", { class: "quiet" }, `half within ${ms(l.p50_ms)}, 99 of 100 within ${ms(l.p99_ms)}, from ticket to receipt`)
      : el("p", { class: "empty" }, "Nothing was delivered at this level since the coordinator started."),
    l.delivered > 0 ? histogram(l) : null,
    l.lost.length ? el("p", { class: "bad" }, "not delivered: " + reasons(l.lost)) : null,
    l.unmatched.length ? el("p", { class: "warn" }, "requests without a group: " + reasons(l.unmatched)) : null));
  const rows = state.recent.map((job) => [
    time(job.at), short(job.job), String(job.attempt), job.model, tag(job.level), count(job.batch), short(job.client),
    job.group.length ? job.group.flatMap((peer) => [short(peer), " "]) : el("span", { class: "quiet" }, "–"),
    job.price ?? el("span", { class: "warn" }, job.refused ?? "refused"),
  ]);
  return [el("div", { class: "grid" }, ...levels),
    table("Latest requests", [["When"], ["Job"], ["Attempt", 1], ["Model"], ["Level"], ["Records", 1], ["Client"], ["Group"], ["Price, or why not"]], rows,
      "Nobody has asked for a group since the coordinator started.")];
}

function models(state) {
  const rows = state.models.items.map((m) => [m.name, "v" + m.version, m.levels.map((level) => tag(level)), m.price, short(m.owner),
    count(m.ready_on), m.hosts ? count(m.hosts) : el("span", { class: "quiet" }, "public weights")]);
  return [table("Models on the chain", [["Name"], ["Version"], ["Levels"], ["Price of a record", 1], ["Owner"], ["Ready on workers", 1], ["Hosts of private weights"]], rows,
    "No model is published.", state.models.unlisted)];
}

function settlement(state) {
  const c = state.coordinator, [submitted, settled, failed] = c.settlements;
  const most = Math.max(...state.epochs.map((epoch) => parseFloat(epoch.amount)), 1e-12);
  const rows = state.epochs.map((epoch) => [String(epoch.epoch), count(epoch.jobs), epoch.amount, bar(parseFloat(epoch.amount) / most), time(epoch.delivered_until)]);
  return [cards(["Last epoch", count(c.epoch)], ["Jobs waiting", count(c.unsettled_jobs)], ["Batches submitted", count(submitted)],
    ["Settled", count(settled)], ["Refused or lost", count(failed)], ["Fee", c.fee, "a job"]),
  table("Epochs", [["Epoch"], ["Jobs", 1], ["Paid by clients", 1], [""], ["Delivered until"]], rows, "Nothing has been settled yet.")];
}

function bar(share) {
  const inner = el("i");
  inner.style.width = (100 * Math.max(share, 0)).toFixed(1) + "%";
  return el("span", { class: "meter", "aria-hidden": "true" }, inner);
}

function earnings(state) {
  const items = state.earnings.items;
  const most = Math.max(...items.map((e) => parseFloat(e.total)), 1e-12);
  const rows = items.map((e) => [short(e.account), e.total, bar(parseFloat(e.total) / most), e.working, e.owning, e.coordinating, e.pending]);
  return [table("Earnings by account, through this coordinator", [["Account"], ["Paid", 1], [""], ["For work", 1], ["For models", 1], ["For matching", 1], ["Waits for settlement", 1]], rows,
    "Nobody has earned anything yet.", state.earnings.unlisted),
  el("p", { class: "quiet" }, "What the chain has paid in settlements of this coordinator. What accounts earned through others is on the chain, not here.")];
}

export const views = { network, workers, jobs, models, settlement, earnings };
