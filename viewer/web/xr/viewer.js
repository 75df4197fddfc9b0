// The viewer's body: where it stands, where it looks, how keys, mouse, fingers and thumbsticks move it, each drawn frame.
//
// On a flat screen keys and mouse pitch the body's neck; with a headset, the wearer's head does. The body may go a little
// ahead of the dream: the picture is drawn from there at once, and the dream comes after.

import { Object3D, Quaternion, Vector3 } from "./three.min.js";
import { MAX_PITCH, anglesOf, clamp, stepOf, turnOf, wayOf, wrap } from "./pose.js";

const WALK_M_S = 1.6, TURN_DEG_S = 80; // of keys and thumbsticks
const AHEAD_M = 0.6, AHEAD_DEG = 50; // how far the body may be ahead of the dream
const DRAG_DEG = 0.25; // a pixel
const SNAP_DEG = 30; // of the turning thumbstick: smooth turns make people sick
const EASE_S = 0.09; // about how long the body takes to get to where a sentence has moved it
const UP = new Vector3(0, 1, 0);

const KEYS = {
  KeyW: "forward", ArrowUp: "forward", KeyS: "back", ArrowDown: "back", KeyA: "left", KeyD: "right",
  ArrowLeft: "turnLeft", KeyQ: "turnLeft", ArrowRight: "turnRight", KeyE: "turnRight", KeyR: "up", KeyF: "down",
};

export class Viewer {
  body = new Object3D(); // carries the camera; in a headset the session moves the camera in it
  worn = null; // a headset's pose in the body, while there is one; the camera's own is three.js's then, at one eye
  pitch = 0;
  orbit = { yaw: 0, pitch: 0, isHeld: false, reach: 2 };
  sticks = { walk: [0, 0], turn: 0 };
  #home = { position: new Vector3(), yaw: 0 }; // where the body is to be; it is eased there
  #isStanding = false;
  #held = new Set();
  #dream = null;
  #hasSnapped = false;

  constructor(camera) {
    this.camera = camera;
    this.body.add(camera);
    camera.rotation.order = "YXZ";
  }

  /** The eye in the world: position, turn, yaw and pitch; between the two eyes of a headset. */
  get head() {
    this.body.updateMatrixWorld(true);
    const position = new Vector3(), turn = new Quaternion();
    (this.worn || this.camera).matrixWorld.decompose(position, turn, new Vector3());
    return { position, turn, ...anglesOf(turn) };
  }

  /** Where the eye is to be when all easing has ended, without orbit: what the dream follows. */
  get wanted() {
    const { position, yaw } = this.#home;
    if (!this.worn) return { position: position.clone(), yaw, pitch: this.pitch };
    const turn = turnOf(yaw, 0), head = this.worn.position.clone().applyQuaternion(turn).add(position);
    return { position: head, ...anglesOf(turn.multiply(this.worn.quaternion)) };
  }

  /** The dream's newest place. The first one is where the viewer begins. */
  dreamt(place) {
    if (!this.#isStanding) this.place(place);
    else this.#home.position.y += place.position.y - this.#dream.position.y; // stairs
    this.#dream = place;
  }

  /** A headset's pose, a Matrix4 in the body's axes; whether it is the first. */
  wear(matrix) {
    const isFirst = !this.worn;
    if (isFirst) this.body.add(this.worn = new Object3D());
    matrix.decompose(this.worn.position, this.worn.quaternion, this.worn.scale);
    return isFirst;
  }

  takeOff() {
    const { position, turn } = this.head;
    this.body.remove(this.worn);
    this.worn = null;
    this.sticks = { walk: [0, 0], turn: 0 };
    this.place({ position, ...anglesOf(turn) });
  }

  /** Stand so that the eye is at that place. */
  place({ position, yaw, pitch }) {
    this.#isStanding = true;
    if (!this.worn) {
      this.pitch = pitch;
      this.#home = { position: position.clone(), yaw };
    } else {
      this.#turn(yaw - this.wanted.yaw);
      this.#shift(this.wanted.position, position);
    }
    this.#settle(1);
  }

  /** A sentence has moved the walker from one place to another: the viewer is taken along. */
  carried(from, to) {
    const by = wrap(to.yaw - from.yaw), pivot = this.wanted.position;
    this.#turn(by);
    const ahead = new Vector3().subVectors(pivot, from.position).setY(0).applyAxisAngle(UP, by * Math.PI / 180);
    const shift = ahead.add(to.position).sub(pivot).setY(0); // `dreamt` sees to the height
    this.#home.position.add(shift);
    if (!this.worn) this.pitch = clamp(this.pitch + to.pitch - from.pitch, MAX_PITCH);
  }

  /** A wall stopped the walker so far short of its goal: the body moves back by as much. */
  blocked(short, yaw) { this.#home.position.add(stepOf(short, yaw)); }

  key(code, isDown) {
    if (!KEYS[code]) return false;
    if (isDown) this.#held.add(KEYS[code]); else this.#held.delete(KEYS[code]);
    return true;
  }

  letGo() { this.#held.clear(); this.orbit.isHeld = false; }

  drag(dx, dy) {
    if (this.orbit.isHeld) {
      this.orbit.yaw = clamp(this.orbit.yaw - dx * DRAG_DEG, 75);
      this.orbit.pitch = clamp(this.orbit.pitch - dy * DRAG_DEG, 50);
    } else {
      this.#home.yaw -= dx * DRAG_DEG;
      this.pitch = clamp(this.pitch - dy * DRAG_DEG, MAX_PITCH);
    }
  }

  /** Move for a drawn frame of so many seconds. */
  move(seconds) {
    const asked = key => this.#held.has(key), { walk, turn } = this.sticks;
    const forward = asked("forward") - asked("back") - walk[1], right = asked("right") - asked("left") + walk[0];
    if (forward || right) this.#walk(forward, right, seconds);
    const left = (asked("turnLeft") - asked("turnRight")) * TURN_DEG_S * seconds;
    if (left) this.#home.yaw += this.#lead(left, this.#home.yaw, this.#dream?.yaw);
    const up = (asked("up") - asked("down")) * TURN_DEG_S * seconds;
    if (up) this.pitch = clamp(this.pitch + up, MAX_PITCH);
    this.#snap(turn);
    this.#settle(1 - Math.exp(-seconds / EASE_S));
    if (!this.worn) this.#neck(seconds);
  }

  #walk(forward, right, seconds) {
    const { position, yaw } = this.wanted, length = Math.max(1, Math.hypot(forward, right));
    const step = stepOf({ forward, right }, yaw).multiplyScalar(WALK_M_S * seconds / length);
    if (!this.#dream) return;
    const now = wayOf(this.#dream.position, position, 0), then = wayOf(this.#dream.position, position.add(step), 0);
    const far = Math.hypot(then.forward, then.right);
    if (far < AHEAD_M || far < Math.hypot(now.forward, now.right)) this.#home.position.add(step);
  }

  #lead(by, now, dreamt) {
    if (dreamt === undefined) return 0;
    return Math.abs(wrap(now + by - dreamt)) < AHEAD_DEG ? by : 0;
  }

  #snap(turn) {
    if (Math.abs(turn) < 0.3) this.#hasSnapped = false;
    if (Math.abs(turn) < 0.7 || this.#hasSnapped) return;
    this.#hasSnapped = true;
    this.#turn(-Math.sign(turn) * SNAP_DEG);
  }

  #turn(deg) { // the body turns, the eye stays where it is
    const before = this.wanted.position;
    this.#home.yaw += deg;
    this.#shift(this.wanted.position, before);
  }

  #shift(from, to) { this.#home.position.add(new Vector3().subVectors(to, from)); }

  #settle(part) {
    this.body.position.lerp(this.#home.position, part);
    this.body.quaternion.slerp(turnOf(this.#home.yaw, 0), part);
  }

  #neck(seconds) { // pitch, and the way around the thing in front while orbiting
    const { orbit } = this, back = orbit.isHeld ? 0 : 1 - Math.exp(-seconds / (2 * EASE_S));
    orbit.yaw -= orbit.yaw * back;
    orbit.pitch -= orbit.pitch * back;
    const pivot = new Vector3(0, 0, -orbit.reach).applyQuaternion(turnOf(0, this.pitch));
    this.camera.quaternion.copy(turnOf(orbit.yaw, this.pitch + orbit.pitch));
    this.camera.position.copy(pivot).add(new Vector3(0, 0, orbit.reach).applyQuaternion(this.camera.quaternion));
  }
}
