// Draws structures on canvases: drag to turn, a button to colour by element or by error.  No libraries, no network.
"use strict";
const frames = JSON.parse(document.getElementById("frames").textContent);
const views = [];
let byError = true;

function turned(view, p) {  // rotate about y, then x
  const [x, y, z] = p, a = Math.cos(view.a), b = Math.sin(view.a), c = Math.cos(view.b), d = Math.sin(view.b);
  const u = a * x + b * z, w = -b * x + a * z;
  return [u, c * y - d * w, d * y + c * w];
}

function draw(view) {
  const { canvas, frame } = view, g = canvas.getContext("2d"), ratio = window.devicePixelRatio || 1;
  const size = canvas.clientWidth;
  canvas.width = canvas.height = size * ratio;
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  const scale = 0.5 * size / frame.reach;
  const place = p => { const q = turned(view, p); return [size / 2 + scale * q[0], size / 2 - scale * q[1], q[2]]; };
  const atoms = frame.positions.map(place), parts = [];
  for (const [i, j] of frame.edges) {
    const p = place(i), q = place(j);
    parts.push([(p[2] + q[2]) / 2 - 1e3, () => line(g, p, q, 1, "#b4bcc4")]);
  }
  for (const [i, j] of frame.bonds) {
    const p = place(surface(frame, i, j)), q = place(surface(frame, j, i));
    parts.push([(p[2] + q[2]) / 2, () => line(g, p, q, Math.max(1.5, 0.16 * scale), "#8c959f")]);
  }
  atoms.forEach((p, i) => parts.push([p[2], () => ball(g, p, scale * frame.radii[i], (byError ? frame.errors : frame.colors)[i])]));
  for (const part of parts.sort((s, t) => s[0] - t[0])) part[1]();
}

function surface(frame, i, j) {  // where the bond of atom i to atom j leaves its ball
  const a = frame.positions[i], b = frame.positions[j];
  const share = 0.9 * frame.radii[i] / Math.hypot(b[0] - a[0], b[1] - a[1], b[2] - a[2]);
  return a.map((x, k) => x + share * (b[k] - x));
}

function line(g, p, q, width, color) {
  g.strokeStyle = color;
  g.lineWidth = width;
  g.beginPath();
  g.moveTo(p[0], p[1]);
  g.lineTo(q[0], q[1]);
  g.stroke();
}

function ball(g, p, radius, color) {
  const shade = g.createRadialGradient(p[0] - radius / 3, p[1] - radius / 3, radius / 8, p[0], p[1], radius);
  shade.addColorStop(0, "#ffffff");
  shade.addColorStop(0.35, color);
  shade.addColorStop(1, color);
  g.fillStyle = shade;
  g.strokeStyle = "#57606a";
  g.lineWidth = 0.7;
  g.beginPath();
  g.arc(p[0], p[1], radius, 0, 2 * Math.PI);
  g.fill();
  g.stroke();
}

document.querySelectorAll("canvas.frame").forEach((canvas, k) => {
  const view = { canvas, frame: frames[k], a: 0.5, b: 0.35 };
  views.push(view);
  canvas.addEventListener("pointerdown", event => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", event => {
    if (!event.buttons) return;
    view.a += event.movementX / 100;
    view.b += event.movementY / 100;
    draw(view);
  });
});
const button = document.getElementById("paint");
button.addEventListener("click", () => {
  byError = !byError;
  button.textContent = byError ? "colour by element" : "colour by error";
  views.forEach(draw);
});
const drawAll = () => views.forEach(draw);
window.addEventListener("resize", drawAll);
drawAll();
