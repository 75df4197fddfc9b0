// One frame as a relief: a small quad for each pixel, as far away as its depth says and leaning as its neighbours do, so
// that surfaces are whole and edges are cut clean. Where nothing was seen there is no quad: a hole. Knows no walk.

import {
  BufferAttribute, BufferGeometry, DataTexture, FloatType, GLSL3, LinearFilter, LinearMipmapLinearFilter, Matrix4, Mesh,
  NearestFilter, NoColorSpace, RedFormat, RawShaderMaterial, Sphere, Texture, Vector3,
} from "./three.min.js";
import { RELIEF_FRAGMENT, RELIEF_VERTEX } from "./shaders.js";

const NEAR = 0.05, FAR = 60; // metres; pixels farther than FAR, or without depth, are put there
const JUMP = 0.07; // neighbours whose inverse depths differ by more than this part are two surfaces, unless on one plane
const BENT = 0.3; // how much a plane's inverse depth, which is linear across a picture, may seem to bend

/** Depth in metres as inverse depth, within NEAR and FAR. depth: Float32Array or null, which is a card at 2.5 m. */
export function inverseDepth(depth, size) {
  const inverse = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const z = depth ? depth[i] : 2.5;
    inverse[i] = 1 / (z > NEAR ? Math.min(z, FAR) : z > 0 ? NEAR : FAR);
  }
  return inverse;
}

/** Which pixels hang together with the one that is `step` on: Uint8Array, 1 where they do. */
function links(inverse, width, height, step) {
  const linked = new Uint8Array(inverse.length), last = inverse.length;
  const ends = step === 1 ? i => i % width === width - 1 : i => i >= (height - 1) * width;
  for (let i = 0; i < last; i++) {
    if (ends(i)) continue;
    const a = inverse[i], b = inverse[i + step], slope = b - a;
    const before = i >= step ? inverse[i - step] : a, after = i + 2 * step < last ? inverse[i + 2 * step] : b;
    const bend = Math.min(Math.abs(slope - (a - before)), Math.abs(after - b - slope));
    linked[i] = Math.abs(slope) < JUMP * Math.min(a, b) || bend < BENT * Math.abs(slope) ? 1 : 0;
  }
  return linked;
}

/**
 * The corners of every pixel's quad: (height * width * 4, 2) float32 of depth in metres, and of where it is cut: 1 across,
 * 2 along, 3 both. Corners of pixels that hang together are the same.
 */
export function corners(inverse, width, height) {
  const out = new Float32Array(inverse.length * 8);
  const across = links(inverse, width, height, 1), down = links(inverse, width, height, width);
  for (let i = 0, at = 0; i < inverse.length; i++) {
    const x = i % width, y = (i - x) / width, here = inverse[i];
    const near = { left: x > 0 && across[i - 1], right: across[i], up: y > 0 && down[i - width], down: down[i] };
    for (let corner = 0; corner < 4; corner++) {
      const dx = corner & 1 ? 1 : -1, dy = corner & 2 ? 1 : -1;
      const h = dx > 0 ? near.right : near.left, v = dy > 0 ? near.down : near.up;
      const beside = i + dx, below = i + dy * width;
      const isWhole = h && v && (down[dy > 0 ? beside : beside - width] || across[dx > 0 ? below : below - 1]);
      let value = here;
      if (isWhole) value = (here + inverse[beside] + inverse[below] + inverse[below + dx]) / 4;
      else {
        if (h) value += (inverse[beside] - here) / 2; // as far as is known; where the surface ends, it continues in the same way
        else if (dx > 0 ? near.left : near.right) value += (here - inverse[i - dx]) / 2;
        if (v) value += (inverse[below] - here) / 2;
        else if (dy > 0 ? near.up : near.down) value += (here - inverse[i - dy * width]) / 2;
      }
      out[at++] = Math.min(FAR, 1 / Math.max(value, 0.5 / FAR));
      out[at++] = (h ? 0 : 1) + (v ? 0 : 2);
    }
  }
  return out;
}

let quads = { count: 0, index: null }; // the same for all reliefs of one size
function indexOf(count) {
  if (quads.count === count) return quads.index;
  const index = new Uint32Array(count * 6);
  for (let i = 0; i < count; i++) index.set([4 * i, 4 * i + 2, 4 * i + 1, 4 * i + 1, 4 * i + 2, 4 * i + 3], 6 * i);
  quads = { count, index: new BufferAttribute(index, 1) };
  return quads.index;
}

/** The corners of those pixels' quads that are known. */
function indexOfKnown(known) {
  const index = [];
  known.forEach((isKnown, i) => { if (isKnown) index.push(4 * i, 4 * i + 2, 4 * i + 1, 4 * i + 1, 4 * i + 2, 4 * i + 3); });
  return new BufferAttribute(Uint32Array.from(index), 1);
}

/** A frame, to be drawn from any place. known: which pixels were seen; all if it is left out. */
export class Relief {
  constructor({ head: { width, height, index }, bitmap, depth, known, place }, fov) {
    const focal = width / 2 / Math.tan(fov * Math.PI / 360), inverse = inverseDepth(depth, width * height);
    Object.assign(this, { width, height, focal, place, index, inverse });
    this.matrix = new Matrix4().compose(place.position, place.turn, new Vector3(1, 1, 1));
    this.colours = pictureOf(bitmap);
    this.depths = new DataTexture(Float32Array.from(inverse, d => 1 / d), width, height, RedFormat, FloatType);
    this.depths.minFilter = this.depths.magFilter = NearestFilter;
    this.depths.needsUpdate = true;
    this.mesh = this.#mesh(known);
  }

  /** The uniforms by which other shaders look things up in this frame. */
  get lookup() {
    const size = new Vector3(this.width, this.height, this.focal);
    return { now: this.matrix.clone().invert(), nowSize: size, nowDepths: this.depths };
  }

  #mesh(known) {
    const { width, height } = this, geometry = new BufferGeometry();
    geometry.setAttribute("corner", new BufferAttribute(corners(this.inverse, width, height), 2));
    geometry.setIndex(known ? indexOfKnown(known) : indexOf(width * height));
    geometry.boundingSphere = new Sphere(this.place.position, FAR * 2);
    const material = new RawShaderMaterial({
      glslVersion: GLSL3, vertexShader: RELIEF_VERTEX, fragmentShader: RELIEF_FRAGMENT, side: 2,
      uniforms: {
        size: { value: new Vector3(width, height, this.focal) }, eye: { value: this.matrix }, age: { value: 0 },
        colours: { value: this.colours }, now: { value: new Matrix4() }, nowSize: { value: new Vector3() },
        nowDepths: { value: null },
      },
    });
    const mesh = new Mesh(geometry, material);
    mesh.frustumCulled = false;
    return mesh;
  }

  /** age 0 is the newest frame; older ones show only what that one does not see. */
  grow(age, lookup) {
    const { uniforms } = this.mesh.material;
    uniforms.age.value = age;
    for (const [name, value] of Object.entries(lookup)) uniforms[name].value = value;
  }

  dispose() {
    this.mesh.geometry.index = null; // others draw with it
    this.mesh.geometry.dispose();
    this.mesh.material.dispose();
    this.colours.dispose();
    this.depths.dispose();
  }
}

function pictureOf(bitmap) {
  const picture = new Texture(bitmap);
  picture.flipY = false; // row 0 is the top one, here and in the depth
  picture.colorSpace = NoColorSpace; // shown as it came
  picture.generateMipmaps = true;
  picture.minFilter = LinearMipmapLinearFilter;
  picture.magFilter = LinearFilter;
  picture.needsUpdate = true;
  return picture;
}
