// A connection to the gateway: protocol 3 over WebSocket, opened again when it is lost. Knows no walk and no picture.

import { pack, unpack } from "./msgpack.js";

const DEAF_PINGS = 3; // a line on which so many had no answer is taken up anew; pings and not time, for the page may be slow
const PING_MS = 2000, RETRY_MS = 1000;

/** Says messages and calls heard(message, payload) for each that comes; lost(why) where the line breaks. */
export class Line {
  #socket;
  #unheard = 0;

  constructor(address, { heard, lost }) {
    Object.assign(this, { address, heard, lost });
    this.#connect();
    setInterval(() => this.#listen(), PING_MS);
  }

  say(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const header = Uint8Array.from(pack({ v: 1, ...message })), whole = new Uint8Array(4 + header.length);
    new DataView(whole.buffer).setUint32(0, header.length, true);
    whole.set(header, 4);
    this.#socket.send(whole);
  }

  #connect() {
    const socket = this.#socket = new WebSocket(this.address);
    this.#unheard = 0;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.say({ type: "hello", versions: [3, 2, 1], client: "xr page" });
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.lost("the line is lost; trying again");
      setTimeout(() => socket === this.#socket && this.#connect(), RETRY_MS);
    };
    socket.onmessage = event => {
      if (socket !== this.#socket) return;
      this.#unheard = 0;
      const length = new DataView(event.data).getUint32(0, true);
      const message = unpack(new Uint8Array(event.data, 4, length));
      if (message.type === "error" && message.code === "hello_first") socket.onopen();
      else this.heard(message, new Uint8Array(event.data, 4 + length));
    };
  }

  #listen() { // a line can go deaf without a word
    if (this.#unheard++ < DEAF_PINGS) return this.say({ type: "ping", clock: performance.now() / 1000 });
    const deaf = this.#socket;
    this.lost("nothing is heard any more; trying again");
    this.#connect();
    deaf.close();
  }
}
