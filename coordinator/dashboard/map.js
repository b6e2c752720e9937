// The network map: the coordinator in the middle, workers around it by operator, applications below.
import { svg } from "./views.js";

const W = 960, H = 500, CX = W / 2, CY = 245;

export function map(state) {
  const workers = [...state.workers.items].sort((a, b) => (a.operator + a.peer < b.operator + b.peer ? -1 : 1));
  const apps = state.others.reduce((sum, other) => sum + other.count, 0);
  const places = new Map();
  // An open ring: the gap at the bottom is for applications.
  workers.forEach((worker, i) => {
    const turn = workers.length === 1 ? 0.5 : i / (workers.length - 1);
    const angle = Math.PI * (0.8 + 1.4 * turn);
    const far = workers.length > 16 && i % 2 ? 0.72 : 1;
    places.set(worker.peer, { x: CX + 360 * far * Math.cos(angle), y: CY + 185 * far * Math.sin(angle), angle });
  });
  const parts = [], labels = [];
  const seen = new Set();
  for (const job of state.recent) {
    const group = job.group.filter((peer) => places.has(peer));
    for (let i = 0; i < group.length; i++) {
      for (let j = i + 1; j < group.length; j++) {
        const key = [job.level, ...[group[i], group[j]].sort()].join();
        if (seen.has(key) || seen.size > 200) continue;
        seen.add(key);
        const a = places.get(group[i]), b = places.get(group[j]);
        // Bent outwards from the middle, so that it is not taken for a link of the coordinator's.
        const mx = (a.x + b.x) / 2, my = (a.y + b.y) / 2;
        const near = Math.hypot(mx - CX, my - CY) < 90;
        const bend = near ? { x: mx, y: my - 260 } : { x: mx + (mx - CX) * 0.4, y: my + (my - CY) * 0.4 };
        parts.push(svg("path", { class: "group " + job.level, d: `M${a.x} ${a.y}Q${bend.x} ${bend.y} ${b.x} ${b.y}` }));
      }
    }
  }
  for (const worker of workers) {
    const at = places.get(worker.peer);
    const link = worker.link;
    parts.push(svg("line", { class: "link " + (link ? link.path : "none"), x1: CX, y1: CY, x2: at.x, y2: at.y }));
    if (link && link.rtt_ms !== null && workers.length <= 24) {
      const text = link.rtt_ms < 1 ? "<1 ms" : link.rtt_ms.toFixed(0) + " ms";
      labels.push(svg("text", { class: "small halo", x: CX + (at.x - CX) * 0.6, y: CY + (at.y - CY) * 0.6 + 4, "text-anchor": "middle" }, `${text} ${link.transport}`));
    }
  }
  parts.push(...labels);
  for (const worker of workers) {
    const at = places.get(worker.peer);
    const left = at.x < CX - 1;
    const node = svg("g", {}, svg("circle", { class: "node " + worker.presence, cx: at.x, cy: at.y, r: 13 }),
      svg("text", { x: at.x, y: at.y + 4, "text-anchor": "middle" }, String(worker.active)),
      svg("title", {}, `${worker.peer}, ${worker.presence}, ${worker.active} of ${worker.capacity} jobs`));
    if (workers.length <= 24) {
      const x = at.x + (left ? -19 : 19), anchor = left ? "end" : "start";
      node.append(
        svg("text", { x, y: at.y - 3, "text-anchor": anchor }, worker.peer.slice(0, 8)),
        svg("text", { class: "small", x, y: at.y + 11, "text-anchor": anchor }, `of ${worker.operator.slice(0, 6)}… ${worker.regions.slice(-1)[0] ?? ""}`));
    }
    parts.push(node);
  }
  parts.push(svg("rect", { class: "hub", x: CX - 56, y: CY - 19, width: 112, height: 38, rx: 9 }),
    svg("text", { class: "hub-text", x: CX, y: CY + 5, "text-anchor": "middle" }, "coordinator"));
  if (apps > 0) {
    const y = H - 42;
    const path = state.others.some((other) => other.path === "direct") ? "direct" : state.others[0].path;
    parts.unshift(svg("line", { class: "link " + path, x1: CX, y1: CY, x2: CX, y2: y }));
    const ways = state.others.map((other) => `${other.count} ${other.path}`).join(", ");
    parts.push(svg("circle", { class: "node", cx: CX, cy: y, r: 15 }),
      svg("text", { x: CX, y: y + 4, "text-anchor": "middle" }, String(apps)),
      svg("text", { x: CX + 24, y: y - 2 }, "applications and others"),
      svg("text", { class: "small", x: CX + 24, y: y + 13 }, ways));
  }
  const label = `The coordinator is connected with ${workers.filter((w) => w.link).length} of ${workers.length} workers and ${apps} others. The same is in the table of workers.`;
  return svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label }, ...parts);
}
