// The two connections to the page's node: what it shows, and the emergency stop alone.

const RETRY_MS = 400, SILENT_MS = 1000, DEAD_MS = 3000, BEAT_MS = 80;
const REFUSED = 4401;

function open(path, token, on) {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(JSON.stringify({ do: "hello", token }));
  socket.onmessage = (event) => on.message(event.data);
  socket.onclose = (event) => on.close(event.code, event.reason);
  return socket;
}

export function readUpdate(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const update = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const picture of update.pictures) {
    picture.data = picture.bytes ? new Blob([new Uint8Array(buffer, at, picture.bytes)], { type: "image/jpeg" }) : null;
    at += picture.bytes;
  }
  return update;
}

// on: update(update) returns when it is shown; state(word): good, lost or refused; begin(): all that was told is told
// anew; dead(): nothing comes any more, and whatever is connected there may be cut off unnoticed.
export class View {
  constructor(token, on) {
    this.token = token;
    this.on = on;
    this.heardMs = -Infinity;
    this.state = "lost";
    setInterval(() => this.look(), 100);
    this.connect();
  }

  connect() {
    let isFirst = true;
    this.begunMs = performance.now();
    const socket = this.socket = open("/view", this.token(), {
      message: async (data) => {
        if (socket !== this.socket) return;
        this.heardMs = performance.now();
        if (isFirst) this.on.begin();
        isFirst = false;
        this.tell("good");
        const update = readUpdate(data);
        await this.on.update(update);
        if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ do: "seen", number: update.number }));
      },
      close: (code, reason) => {
        if (socket !== this.socket) return;
        this.tell(code === REFUSED ? "refused" : "lost", reason);
        if (code !== REFUSED) setTimeout(() => this.connect(), RETRY_MS);
      },
    });
  }

  look() {
    const nowMs = performance.now();
    if (this.state === "good" && nowMs - this.heardMs > SILENT_MS) this.tell("lost");
    if (this.state !== "lost" || nowMs - Math.max(this.heardMs, this.begunMs) < DEAD_MS) return;
    const dead = this.socket;
    this.connect(); // a cut cable is told to nobody
    dead.close();
    this.on.dead();
  }

  tell(state, reason = "") {
    if (state === this.state && state !== "refused") return;
    this.state = state;
    this.on.state(state, reason);
  }

  send(request) {
    const isOpen = this.state === "good" && this.socket.readyState === WebSocket.OPEN;
    if (isOpen) this.socket.send(JSON.stringify(request));
    return isOpen;
  }
}

// Holds the robot by a word every 80 ms, if it is to; a press that cannot be sent is sent as soon as it can.
export class Stop {
  constructor(token) {
    this.token = token;
    this.isHolding = false;
    this.isPressed = false;
    setInterval(() => { if (this.isHolding && !document.hidden) this.send({ do: "hold" }); }, BEAT_MS);
    this.connect();
  }

  connect() {
    this.socket?.close();
    const socket = this.socket = open("/stop", this.token(), {
      message: () => { this.isPressed = false; },
      close: (code) => { if (socket === this.socket && code !== REFUSED) setTimeout(() => this.connect(), RETRY_MS); },
    });
    socket.addEventListener("open", () => { if (this.isPressed) this.send({ do: "press" }); });
  }

  press() {
    this.isPressed = true;
    return this.send({ do: "press" });
  }

  release() {
    this.isPressed = false;
    return this.send({ do: "release" });
  }

  hold(isHolding) {
    this.isHolding = isHolding;
    this.send({ do: isHolding ? "hold" : "let_go" });
  }

  send(request) {
    const isOpen = this.socket.readyState === WebSocket.OPEN;
    if (isOpen) this.socket.send(JSON.stringify(request));
    return isOpen;
  }
}
