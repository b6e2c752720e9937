// Clicks through every view of the dashboard of a running network in headless Chromium, in both themes.
//
//   ai-link dev up --with-models        # and some jobs, for there to be something to see
//   npm install playwright-core         # anywhere; no browser is downloaded
//   NODE_PATH=… node coordinator/dashboard/check.mjs http://127.0.0.1:PORT/ [DIRECTORY FOR SCREENSHOTS]
//
// CHROMIUM names the browser [default: /usr/bin/chromium]. FILES=DIR serves the page's files from DIR instead, to try
// changes without building. Exits with 1 and says what is wrong when a view is empty, an error is logged, a text of
// the network is taken for markup, or the page asks anybody but the coordinator.
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";

const { chromium } = createRequire(join(process.cwd(), "x.js"))("playwright-core");
const [url, shots] = process.argv.slice(2);
assert(url, "give the dashboard's URL; `ai-link dev status` prints it");
if (shots) mkdirSync(shots, { recursive: true });

const profile = mkdtempSync(join(tmpdir(), "ai-link-dashboard-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
  viewport: { width: 1280, height: 900 },
});
const wrong = [];
try {
  const page = context.pages()[0] ?? (await context.newPage());
  page.on("console", (message) => message.type() === "error" && wrong.push("console: " + message.text()));
  page.on("pageerror", (error) => wrong.push("script: " + error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) wrong.push("asked " + request.url());
  });
  if (process.env.FILES) {
    const types = { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
    await page.route((asked) => !asked.pathname.startsWith("/api/"), (route) => {
      const name = new URL(route.request().url()).pathname.slice(1) || "index.html";
      route.fulfill({ contentType: types[name.split(".").pop()], body: readFileSync(join(process.env.FILES, name)) });
    });
  }

  const first = await page.goto(url);
  assert.match(first.headers()["content-security-policy"] ?? (process.env.FILES ? "default-src 'none'" : ""), /default-src 'none'/);
  await page.waitForFunction(() => document.getElementById("live").textContent === "live");
  const state = await (await page.request.get(new URL("api/state", url).href)).json();

  // What each view must show, from the state itself.
  const expected = {
    network: [["svg[role=img] circle.node", state.workers.items.length]],
    workers: [["tbody tr", state.workers.items.length]],
    jobs: [["svg .bar", 1], ["tbody tr", Math.min(state.recent.length, 1)]],
    models: [["tbody tr", state.models.items.length]],
    settlement: [["tbody tr", Math.min(state.epochs.length, 1)]],
    earnings: [["tbody tr", state.earnings.items.length]],
  };
  for (const theme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: theme });
    for (const [view, wants] of Object.entries(expected)) {
      await page.click(`#tab-${view}`);
      assert.equal(await page.getAttribute(`#tab-${view}`, "aria-selected"), "true", view);
      for (const [selector, least] of wants) {
        const found = await page.locator("#view " + selector).count();
        assert(found >= least && found > 0, `${view}: ${found} of ${selector}, at least ${Math.max(least, 1)} expected`);
      }
      if (shots) await page.screenshot({ path: join(shots, `${view}-${theme}.png`), fullPage: true });
    }
  }

  // By keyboard alone: arrows move through the tabs, and focus goes with them.
  await page.focus("#tab-network");
  await page.click("#tab-network");
  for (const view of [...Object.keys(expected).slice(1), "network"]) {
    await page.keyboard.press("ArrowRight");
    assert.equal(await page.evaluate(() => document.activeElement.id), "tab-" + view);
    assert.equal(await page.getAttribute("#view", "aria-labelledby"), "tab-" + view);
  }

  // The toggle wins over the system, is kept, and is told.
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await ground();
  await page.click("#theme");
  assert.equal(await page.getAttribute("#theme", "aria-label"), "Theme: light");
  assert.notEqual(await ground(), dark);
  await page.reload();
  await page.waitForFunction(() => document.getElementById("live").textContent === "live");
  assert.notEqual(await ground(), dark, "the choice is kept");

  // Live without reload.
  const at = await page.getAttribute("html", "data-at");
  await page.waitForFunction((before) => document.documentElement.dataset.at !== before, at);

  // Names that come from outside are text, whatever is in them; and a coordinator that is gone is said to be.
  const hostile = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>";
  await page.route("**/api/state", (route) => {
    const forged = structuredClone(state);
    for (const worker of forged.workers.items) {
      worker.software = hostile;
      worker.regions = [hostile];
    }
    for (const model of forged.models.items) model.name = hostile;
    for (const job of forged.recent) job.model = hostile;
    route.fulfill({ json: forged });
  });
  await page.waitForTimeout(2500);
  for (const view of Object.keys(expected)) {
    await page.click(`#tab-${view}`);
    assert.equal(await page.locator("#view img, #view script").count(), 0, `${view}: markup from a name`);
  }
  await page.click("#tab-models");
  assert((await page.textContent("#view")).includes("<script>"), "the name is shown as it is");
  assert.notEqual(await page.title(), "owned");
  const said = wrong.length;
  await page.unroute("**/api/state");
  await page.route("**/api/state", (route) => route.abort());
  await page.waitForFunction(() => document.getElementById("live").dataset.state === "lost");
  // The browser itself logs that the request failed: that is what was asked for.
  wrong.splice(said);

  // On a telephone nothing but tables scrolls sideways.
  await page.unroute("**/api/state");
  await page.setViewportSize({ width: 390, height: 800 });
  await page.waitForFunction(() => document.getElementById("live").dataset.state === "live");
  for (const view of Object.keys(expected)) {
    await page.click(`#tab-${view}`);
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert(wide <= room, `${view} is ${wide} wide on ${room}`);
  }
  if (shots) await page.screenshot({ path: join(shots, "earnings-narrow.png"), fullPage: true });
  assert.deepEqual(wrong, []);
  console.log(JSON.stringify({ views: Object.keys(expected), themes: 2, workers: state.workers.items.length, recent: state.recent.length }));
} catch (error) {
  console.error(error.message, wrong);
  process.exitCode = 1;
} finally {
  await context.close();
}
