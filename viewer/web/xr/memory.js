// What the viewer has been shown: the newest relief, what the server remembers of the view of an eye aside, older reliefs
// from other places, and the dim shell behind them all.

import {
  BufferAttribute, BufferGeometry, GLSL3, Mesh, RawShaderMaterial, Vector3,
} from "./three.min.js";
import { Relief } from "./relief.js";
import { SHELL_FRAGMENT, SHELL_VERTEX } from "./shaders.js";

const APART_M = 0.5, APART_DEG = 25; // a view from farther off, or turned by more, is worth keeping beside another
const DIM = 0.4; // the light of what is not dreamt
const BLOCK = 8; // pixels: the shell is as far as the farthest of so many

/** Puts frames into a scene of three.js; keeps `most` older ones. */
export class Memory {
  kept = [];
  newest = null;
  glimpse = null;

  constructor(scene, most) {
    Object.assign(this, { scene, most });
    this.shell = new Shell(scene);
  }

  show(frame, fov) {
    if (this.newest) this.#keep(this.newest);
    this.newest = new Relief(frame, fov);
    this.scene.add(this.newest.mesh);
    const lookup = this.newest.lookup;
    this.newest.grow(0, lookup);
    this.glimpse?.grow(0.5, lookup);
    this.kept.forEach((relief, i) => relief.grow(this.kept.length - i, lookup));
    this.shell.stand(this.newest);
  }

  /** What is remembered of another view, until the next one: it fills in where the newest frame does not look. */
  glance(frame, fov) {
    if (this.glimpse) this.#drop(this.glimpse);
    this.glimpse = new Relief(frame, fov);
    this.scene.add(this.glimpse.mesh);
    if (this.newest) this.glimpse.grow(0.5, this.newest.lookup);
  }

  /** Forget all: another world begins. */
  clear() {
    for (const relief of [this.newest, this.glimpse, ...this.kept]) if (relief) this.#drop(relief);
    this.newest = this.glimpse = null;
    this.kept = [];
  }

  #keep(relief) { // a newer view of nearly the same takes the place of the older one
    const same = this.kept.find(old => old.place.position.distanceTo(relief.place.position) < APART_M
      && old.place.turn.angleTo(relief.place.turn) < APART_DEG * Math.PI / 180);
    const gone = same || (this.kept.length >= this.most ? this.kept[0] : null);
    if (gone) { this.kept.splice(this.kept.indexOf(gone), 1); this.#drop(gone); }
    if (this.most) this.kept.push(relief); else this.#drop(relief);
  }

  #drop(relief) {
    this.scene.remove(relief.mesh);
    relief.dispose();
  }
}

/** A sphere about the newest eye, pushed out to the depth that is seen in each direction; beyond the edge, the edge's depth. */
class Shell {
  #ways = directions(72, 48);

  constructor(scene) {
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(this.#ways.position, 3));
    geometry.setAttribute("far", new BufferAttribute(new Float32Array(this.#ways.position.length / 3), 1));
    geometry.setIndex(new BufferAttribute(this.#ways.index, 1));
    const uniforms = Object.fromEntries(["eye", "colours", "size"].map(name => [name, { value: null }]));
    const material = new RawShaderMaterial({
      glslVersion: GLSL3, vertexShader: SHELL_VERTEX, fragmentShader: SHELL_FRAGMENT, side: 2, depthTest: false,
      depthWrite: false, uniforms: { ...uniforms, light: { value: DIM } },
    });
    this.mesh = new Mesh(geometry, material);
    this.mesh.frustumCulled = this.mesh.visible = false;
    this.mesh.renderOrder = -1; // behind all that was dreamt
    scene.add(this.mesh);
  }

  stand(relief) {
    const { uniforms } = this.mesh.material, { width, height, focal } = relief, far = this.mesh.geometry.attributes.far;
    uniforms.eye.value = relief.matrix;
    uniforms.colours.value = relief.colours;
    uniforms.size.value = new Vector3(width, height, focal);
    const blocks = farthest(relief), most = [Math.atan(width / 2 / focal), Math.atan(height / 2 / focal)];
    for (let i = 0; i < far.count; i++) {
      const [x, y, z] = this.#ways.position.subarray(3 * i, 3 * i + 3);
      const across = Math.max(-most[0], Math.min(most[0], Math.atan2(x, -z)));
      const down = Math.max(-most[1], Math.min(most[1], Math.asin(-y)));
      const depth = blocks(width / 2 + focal * Math.tan(across), height / 2 + focal * Math.tan(down) / Math.cos(across));
      far.array[i] = depth / (Math.cos(across) * Math.cos(down)); // along the way, not along the camera's axis
    }
    far.needsUpdate = true;
    this.mesh.visible = true;
  }
}

/** The greatest depth in the block of pixels about (x, y). */
function farthest({ width, height, inverse }) {
  const columns = Math.ceil(width / BLOCK), rows = Math.ceil(height / BLOCK), least = new Float32Array(columns * rows).fill(9e9);
  for (let i = 0; i < inverse.length; i++) {
    const block = Math.floor(i / width / BLOCK) * columns + Math.floor(i % width / BLOCK);
    least[block] = Math.min(least[block], inverse[i]);
  }
  const at = (value, count) => Math.max(0, Math.min(count - 1, Math.floor(value / BLOCK)));
  return (x, y) => 1 / least[at(y, rows) * columns + at(x, columns)];
}

function directions(columns, rows) {
  const position = new Float32Array((columns + 1) * (rows + 1) * 3), index = new Uint32Array(columns * rows * 6);
  for (let row = 0, at = 0; row <= rows; row++) {
    for (let column = 0; column <= columns; column++, at += 3) {
      const yaw = 2 * Math.PI * column / columns, pitch = Math.PI * (row / rows - 0.5);
      position.set([Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch), -Math.cos(yaw) * Math.cos(pitch)], at);
    }
  }
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, at += 6) {
      const a = row * (columns + 1) + column, b = a + columns + 1;
      index.set([a, b, a + 1, a + 1, b, b + 1], at);
    }
  }
  return { position, index };
}
