// The map and the timeline, on canvases.

const TIMELINE_S = 120;

function prepare(canvas) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  return [context, width, height];
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "grid", "main", "good", "bad"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
}

// Returns where each decision was drawn: [[x, y, key], ...]. x of the robot's world is to the right, y up.
export function drawMap(canvas, pieces, decisions, pose, chosen) {
  const [context, width, height] = prepare(canvas), colour = colours();
  const points = pieces.flat().concat(decisions.map((one) => one.at), pose ? [pose] : []);
  if (!points.length || !width) return [];
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min((width - 40) / Math.max(4, right - left), (height - 40) / Math.max(3, high - low));
  const place = (p) => [width / 2 + (p[0] - (left + right) / 2) * scale, height / 2 - (p[1] - (low + high) / 2) * scale];
  drawGrid(context, width, height, scale, place([0, 0]), colour);
  context.strokeStyle = colour.main;
  context.lineWidth = 2;
  for (const piece of pieces) {
    context.beginPath();
    piece.forEach((p) => context.lineTo(...place(p)));
    context.stroke();
  }
  const drawn = decisions.map((one) => [...place(one.at), one.key]);
  drawn.forEach(([x, y, key], index) => {
    context.fillStyle = key === chosen ? colour.bad : decisions[index].hold ? colour.soft : colour.ink;
    context.beginPath();
    context.arc(x, y, key === chosen ? 6 : 3.5, 0, 2 * Math.PI);
    context.fill();
  });
  if (pose) drawRobot(context, place(pose), pose[2], colour);
  return drawn;
}

function drawGrid(context, width, height, scale, [x0, y0], colour) {
  const step = scale < 12 ? 5 : 1;
  context.strokeStyle = colour.grid;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = ((x0 % (step * scale)) + step * scale) % (step * scale); x < width; x += step * scale) { context.moveTo(x, 0); context.lineTo(x, height); }
  for (let y = ((y0 % (step * scale)) + step * scale) % (step * scale); y < height; y += step * scale) { context.moveTo(0, y); context.lineTo(width, y); }
  context.stroke();
  context.fillStyle = colour.soft;
  context.fillText(`squares of ${step} m`, 6, height - 6);
}

function drawRobot(context, [x, y], yaw, colour) {
  context.save();
  context.translate(x, y);
  context.rotate(-yaw);
  context.fillStyle = colour.good;
  context.beginPath();
  context.moveTo(11, 0);
  context.lineTo(-7, 7);
  context.lineTo(-4, 0);
  context.lineTo(-7, -7);
  context.fill();
  context.restore();
}

export function drawTimeline(canvas, events, nowS) {
  const [context, width, height] = prepare(canvas), colour = colours();
  if (!width) return;
  const place = (s) => width * (1 - (nowS - s) / TIMELINE_S);
  context.fillStyle = colour.soft;
  context.strokeStyle = colour.grid;
  context.beginPath();
  for (let ago = 30; ago < TIMELINE_S; ago += 30) {
    context.moveTo(place(nowS - ago), 0);
    context.lineTo(place(nowS - ago), height);
    context.fillText(`${ago} s ago`, place(nowS - ago) + 3, height - 5);
  }
  context.stroke();
  const recent = events.filter((one) => one.open || nowS - one.end_s < TIMELINE_S);
  const labels = [...new Set(recent.map((one) => one.label))].slice(-5);
  const row = Math.min(24, (height - 20) / Math.max(1, labels.length));
  for (const one of recent) {
    const index = labels.indexOf(one.label);
    if (index < 0) continue;
    const start = Math.max(0, place(one.start_s)), end = one.open ? width : place(one.end_s);
    context.fillStyle = one.open ? colour.good : colour.main;
    context.globalAlpha = 0.35 + 0.65 * (one.probability || 0);
    context.fillRect(start, index * row + 2, Math.max(3, end - start), row - 5);
    context.globalAlpha = 1;
  }
  context.fillStyle = colour.ink;
  labels.forEach((label, index) => context.fillText(label, 6, index * row + row / 2 + 3));
}
