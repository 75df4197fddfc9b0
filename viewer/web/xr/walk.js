// The walk: opens it, has the walker follow the viewer's head, says sentences, hands on frames. Draws nothing.
//
// The head moves freely and the dream follows it: each step of the model goes from the pose of the last frame towards the
// head, one step at a time. If a wall stops the walker, `blocked` says by how much, so that the head can be held back too.
// If an eye stays at a place that the walker does not reach (leaning over, crouching, going round something), the server is
// asked for what it remembers of that view, and to dream the rest.

import { Line } from "./line.js";
import { MAX_PITCH, clamp, placeOf, poseOf, wayOf, wrap } from "./pose.js";

const STRIDE_M = 0.3, TURN_DEG = 15; // a step's, at most: as large as the steps that a model has learnt
const NEAR_M = 0.06, NEAR_DEG = 3; // the walker does not follow a head that is nearer than this
const SLIP_M = 0.03; // a walker who got this far less than was told has met a wall
const FAR_MM = 65535;
const ASIDE_M = 0.12, ASIDE_DEG = 8; // farther than this from the newest frame's place an eye sees what that does not show
const STILL_MS = 300, SWAY_M = 0.03, SWAY_DEG = 3; // an eye that rests
const GLANCE_PX = 128, DREAM_SHARE = 0.1; // of a glance; what is unknown of it and worth a dream

export class Walk {
  session = "";
  note = "connecting";
  frames = 0;
  fov = 80;
  #token = "";
  #seq = 0;
  #step = null; // the act that follows the head, until its frame
  #typed = new Map(); // sentences that have no receipt yet, by their seq
  #last = 0; // the last frame of the newest sentence
  #place = null;
  #opening = 0;
  #version = 1;
  #eye = null; // where an eye rests, and since when; what was done for it: a glance at that frame, a dream
  #sight = 0; // the look that is under way
  #dream = 0; // and the dream
  #cannot = new Set(); // what this world has refused: "look", "dream"

  /**
   * wanted: the fields of `open`, seed among them; kept: where a token survives a reload ({ get(), set(token) });
   * shown(frame): called with each, as { head, bitmap, depth (Float32Array of metres or null), place };
   * glimpsed(frame): what is remembered of the view of an eye aside, with `known` (Uint8Array), which pixels are;
   * carried(from, to): a sentence has moved the walker; blocked(x, z): a wall stopped it so many metres short.
   */
  constructor(address, { wanted, kept, shown, glimpsed, carried, blocked }) {
    Object.assign(this, { wanted, kept, shown, glimpsed, carried, blocked, unknown: 0 });
    this.#token = kept.get();
    this.line = new Line(address, {
      heard: (message, payload) => this.#hear(message, payload),
      lost: why => { this.note = why; this.#step = null; this.#sight = this.#dream = 0; this.session = ""; },
    });
  }

  get isDriving() { return Boolean(this.session && this.#place); }
  get isDreaming() { return Boolean(this.#dream); }
  get isTold() { return this.#typed.size > 0 || (this.#place && this.head.index < this.#last); }

  /** Do what a sentence says; the head is carried along. */
  say(text) {
    if (!this.session) return;
    const act = { type: "act", seq: ++this.#seq, session: this.session, mode: "once", text, clock: performance.now() / 1000 };
    this.#typed.set(act.seq, act);
    this.line.say(act);
  }

  /** Follow the head, if nothing else is in progress. position: in three.js's axes; yaw and pitch in degrees. */
  follow({ position, yaw, pitch }) {
    if (!this.isDriving || this.#step || this.isTold) return;
    const here = this.#place, { forward, right } = wayOf(here.position, position, here.yaw);
    const left = wrap(yaw - here.yaw), up = clamp(pitch, MAX_PITCH) - here.pitch, far = Math.hypot(forward, right);
    if (far < NEAR_M && Math.abs(left) < NEAR_DEG && Math.abs(up) < NEAR_DEG) return;
    const part = Math.min(1, STRIDE_M / Math.max(far, 1e-6));
    const motion = [forward * part, right * part, clamp(left, TURN_DEG), clamp(up, TURN_DEG)];
    this.#step = { type: "act", seq: ++this.#seq, session: this.session, mode: "once", text: "", motion };
    this.line.say({ ...this.#step, clock: performance.now() / 1000 });
  }

  /** Ask for the view of an eye that stays beside the newest frame's place, at that time in milliseconds. */
  glance({ position, turn }, now) {
    if (!this.#eye || isApart(this.#eye, { position, turn }, SWAY_M, SWAY_DEG)) {
      this.#eye = { position: position.clone(), turn: turn.clone(), since: now, glanced: -1, isDreamt: false };
      this.unknown = 0;
    }
    const eye = this.#eye, isBusy = this.#sight || this.#dream || this.#step || this.isTold;
    if (!this.isDriving || isBusy || this.#version < 2 || this.#cannot.has("look") || now - eye.since < STILL_MS) return;
    if (eye.glanced === this.head.index || !isApart(this.#place, eye, ASIDE_M, ASIDE_DEG)) return;
    eye.glanced = this.head.index;
    this.#sight = ++this.#seq;
    this.line.say({
      type: "look", seq: this.#sight, session: this.session, pose: poseOf(eye), fov_deg: this.fov, width: GLANCE_PX,
      height: GLANCE_PX, encoding: "jpeg", quality: 90, depth: "u16mm", mask: true,
    });
  }

  #hear(m, payload) {
    switch (m.type) {
      case "welcome": this.fov = m.fov_deg || 80; this.#version = m.version; this.#begin(); break;
      case "sight": if (m.seq === this.#sight) this.#seen(m, payload); break;
      case "opened": this.#opened(m); break;
      case "receipt": this.#receipt(m); break;
      case "frame": if (m.session === this.session) this.#look(m, payload); break;
      case "goodbye": this.note = m.reason; break;
      case "error": this.#refused(m); break;
    }
  }

  #begin() {
    const view = { seq: this.#opening = ++this.#seq, encoding: "jpeg", quality: 90, depth: "u16mm", credits: 1 };
    this.line.say(this.#token ? { type: "resume", token: this.#token, ...view } : { type: "open", ...this.wanted, ...view });
  }

  #opened(m) {
    this.session = m.session;
    this.#token = m.token;
    this.kept.set(m.token);
    this.#seq = Math.max(this.#seq, m.last);
    this.#step = null;
    this.#sight = this.#dream = 0;
    this.#cannot.clear();
    this.note = "";
    this.#typed.forEach(act => this.line.say(act)); // after a lost connection; the server does none twice
  }

  #receipt(m) {
    if (m.seq === this.#step?.seq && m.status !== "applied") this.#step = null;
    if (m.seq === this.#dream && m.status !== "applied") { this.#dream = 0; this.#cannot.add("dream"); return; }
    const act = this.#typed.get(m.seq);
    this.#typed.delete(m.seq);
    if (m.status === "refused") this.note = m.reason;
    else if (act) { this.#last = m.frame; this.note = `done: ${act.text}`; }
  }

  #refused(m) {
    if (m.code === "unknown_session" && this.#token && m.seq === this.#opening) { this.#token = ""; this.#begin(); return; }
    if (m.session && m.session !== this.session) return;
    if (m.seq && m.seq === this.#sight) { this.#sight = 0; this.#cannot.add("look"); return; }
    if (m.seq && m.seq === this.#dream) { this.#dream = 0; this.#cannot.add("dream"); return; }
    this.note = m.message;
    this.#typed.delete(m.seq);
    if (m.seq === this.#step?.seq) this.#step = null;
    if (m.code === "not_yours") this.session = "";
  }

  async #seen(m, payload) {
    const bitmap = await createImageBitmap(new Blob([payload.subarray(0, m.pixel_bytes)], { type: "image/jpeg" }));
    const known = knownOf(m, payload), eye = this.#eye, place = placeOf(m.pose);
    this.#sight = 0;
    this.unknown = m.unknown;
    this.glimpsed({ head: m, bitmap, depth: depthOf(m, payload), known, place });
    const isWanted = m.unknown > DREAM_SHARE && this.#version >= 3 && !this.#cannot.has("dream");
    if (!isWanted || eye.isDreamt || isApart(place, eye, SWAY_M, SWAY_DEG) || this.#step) return;
    eye.isDreamt = true; // once for an eye: what a dream cannot show, a head held askew, stays dim
    this.#dream = ++this.#seq;
    this.line.say({ type: "dream", seq: this.#dream, session: this.session, pose: poseOf(eye), clock: performance.now() / 1000 });
  }

  async #look(head, payload) {
    const bitmap = await createImageBitmap(new Blob([payload.subarray(0, head.pixel_bytes)], { type: "image/jpeg" }));
    const place = placeOf(head.pose), before = this.#place;
    this.#place = place;
    this.head = head;
    this.frames++;
    if (head.seq === this.#dream) this.#dream = 0;
    if (before && head.seq === this.#step?.seq) this.#hold(before, place);
    else if (before) this.carried(before, place);
    this.shown({ head, bitmap, depth: depthOf(head, payload), place });
    this.line.say({ type: "credit", session: head.session, frames: 1 });
  }

  #hold(before, place) { // was the way free?
    const [forward, right] = this.#step.motion, way = wayOf(before.position, place.position, before.yaw);
    this.#step = null;
    const short = { forward: way.forward - forward, right: way.right - right };
    if (Math.hypot(short.forward, short.right) > SLIP_M) this.blocked(short, before.yaw);
  }
}

function isApart(place, eye, metres, degrees) {
  const isFar = place.position.distanceTo(eye.position) > metres;
  return isFar || place.turn.angleTo(eye.turn) > degrees * Math.PI / 180;
}

/** Which pixels of a sight are known: the mask has a bit for each that is not, rows of whole bytes. */
function knownOf({ width, height, pixel_bytes, depth_bytes }, payload) {
  const row = Math.ceil(width / 8), mask = payload.subarray(pixel_bytes + depth_bytes);
  return Uint8Array.from({ length: width * height }, (_, i) => {
    const x = i % width, y = (i - x) / width;
    return mask[y * row + (x >> 3)] >> (7 - (x & 7)) & 1 ? 0 : 1;
  });
}

function depthOf(head, payload) {
  if (head.depth !== "u16mm" || !head.depth_bytes) return null;
  const bytes = payload.slice(head.pixel_bytes, head.pixel_bytes + head.depth_bytes);
  return Float32Array.from(new Uint16Array(bytes.buffer), mm => mm === FAR_MM ? Infinity : mm / 1000);
}
