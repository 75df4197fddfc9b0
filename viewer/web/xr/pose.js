// Poses and axes. Roam: metres, +Z up, yaw 0 along +X and growing to the left. three.js: metres, +Y up, yaw 0 along -Z.

import { Quaternion, Vector3 } from "./three.min.js";

export const MAX_PITCH = 60; // degrees; the walker's neck goes no farther
const DEG = Math.PI / 180;
const TO_Y_UP = new Quaternion(-Math.SQRT1_2, 0, 0, Math.SQRT1_2); // (x, y, z) becomes (x, z, -y)
const TO_EYE = new Quaternion(1, 0, 0, 0); // camera axes: +Y up and -Z forward instead of +Y down and +Z forward

export const wrap = deg => ((deg + 180) % 360 + 360) % 360 - 180;
export const clamp = (value, most) => Math.max(-most, Math.min(most, value));

/** The pose of a frame, seven numbers, as position and turn in three.js's axes. */
export function placeOf([x = 0, y = 0, z = 0, qw = Math.SQRT1_2, qx = -Math.SQRT1_2, qy = 0, qz = 0]) {
  const turn = new Quaternion(qx, qy, qz, qw).premultiply(TO_Y_UP).multiply(TO_EYE);
  return { position: new Vector3(x, z, -y), turn, ...anglesOf(turn) };
}

/** The seven numbers of an eye at that position and turn: what `placeOf` reads. */
export function poseOf({ position: { x, y, z }, turn }) {
  const q = turn.clone().premultiply(TO_Y_UP.clone().invert()).multiply(TO_EYE.clone().invert());
  return [x, -z, y, q.w, q.x, q.y, q.z];
}

/** Yaw and pitch in degrees of a turn in three.js's axes; roll is left out. Yaw 0 looks along -Z. */
export function anglesOf(turn) {
  const ahead = new Vector3(0, 0, -1).applyQuaternion(turn);
  const pitch = Math.asin(clamp(ahead.y, 1)) / DEG;
  if (Math.abs(pitch) < 85) return { yaw: Math.atan2(-ahead.x, -ahead.z) / DEG, pitch };
  const right = new Vector3(1, 0, 0).applyQuaternion(turn); // looking straight up or down, the right hand still tells
  return { yaw: Math.atan2(-right.z, right.x) / DEG, pitch };
}

/** The turn of someone who looks that way, without roll. */
export function turnOf(yaw, pitch) {
  const up = new Quaternion().setFromAxisAngle(new Vector3(0, 1, 0), yaw * DEG);
  return up.multiply(new Quaternion().setFromAxisAngle(new Vector3(1, 0, 0), pitch * DEG));
}

/** The way from one place to another as a walker who looks along `yaw` would say it: metres forward and right. */
export function wayOf(from, to, yaw) {
  const x = to.x - from.x, z = to.z - from.z, sin = Math.sin(yaw * DEG), cos = Math.cos(yaw * DEG);
  return { forward: -x * sin - z * cos, right: x * cos - z * sin };
}

/** A step of that many metres forward and right of someone who looks along `yaw`. */
export function stepOf({ forward, right }, yaw) {
  const sin = Math.sin(yaw * DEG), cos = Math.cos(yaw * DEG);
  return new Vector3(-forward * sin + right * cos, 0, -forward * cos - right * sin);
}
