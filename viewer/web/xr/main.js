// The page for headsets and screens at /xr: a dream walked from the inside. See docs/vr.md.
//
// Each dreamt frame becomes a relief (relief.js, memory.js); the display draws reliefs from wherever the viewer is, at its
// own rate, while walk.js sends the dream after the viewer's head.

import { Matrix4, PerspectiveCamera, Scene, WebGLRenderer } from "./three.min.js";
import { Memory } from "./memory.js";
import { Viewer } from "./viewer.js";
import { Walk } from "./walk.js";

const $ = id => document.getElementById(id), words = $("words");
const asked = new URLSearchParams(location.search);
const number = (name, otherwise) => Number(asked.get(name) ?? otherwise);

const renderer = new WebGLRenderer({ canvas: $("view"), antialias: asked.get("smooth") !== "no" });
renderer.xr.enabled = true;
renderer.xr.setReferenceSpaceType("local"); // the head begins where the walker's is, sitting or standing
const scene = new Scene(), camera = new PerspectiveCamera(70, 1, 0.05, 300), viewer = new Viewer(camera);
const memory = new Memory(scene, number("memory", 10));
scene.add(viewer.body);

const tokens = { // a walk survives a reload, where the browser keeps anything
  get() { try { return sessionStorage.getItem("roam-xr-token") || ""; } catch { return ""; } },
  set(token) { try { sessionStorage.setItem("roam-xr-token", token); } catch { /* nothing is kept here */ } },
};

const socket = new URL("ws", location.href.split(/[?#]/)[0]);
socket.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const walk = new Walk(socket.href, {
  wanted: { model: asked.get("model") || "", world: asked.get("world") || "", seed: number("seed", 0) },
  kept: tokens,
  shown: frame => {
    memory.show(frame, walk.fov);
    viewer.dreamt(frame.place);
    viewer.orbit.reach = Math.min(4, middle(frame));
    dreamtAt = [...dreamtAt.filter(at => performance.now() - at < 2000), performance.now()];
  },
  glimpsed: frame => memory.glance(frame, frame.head.fov_deg),
  carried: (from, to) => viewer.carried(from, to),
  blocked: (short, yaw) => viewer.blocked(short, yaw),
});

/** For tests, and for the browser's console. */
const roam = globalThis.roam = { walk, viewer, memory, renderer, drawn: 0 };
let dreamtAt = [], drawnAt = [], before = 0;

function middle({ head: { width, height }, depth }) {
  const metres = depth ? depth[Math.floor(height / 2) * width + Math.floor(width / 2)] : 2;
  return Number.isFinite(metres) ? metres : 4;
}

// Drawing, at the display's rate, whatever the model does.
renderer.setAnimationLoop((now, frame) => {
  const seconds = Math.min(0.1, (now - before) / 1000);
  before = now;
  if (frame) wear(frame);
  viewer.move(seconds);
  if (!viewer.orbit.isHeld && (!renderer.xr.isPresenting || viewer.worn)) walk.follow(viewer.wanted);
  walk.glance(viewer.head, now);
  renderer.render(scene, camera);
  roam.drawn++;
  drawnAt.push(now);
});

setInterval(() => {
  drawnAt = drawnAt.filter(at => performance.now() - at < 2000);
  const figures = [`dream ${(dreamtAt.length / 2).toFixed(0)} frames/s`, `display ${(drawnAt.length / 2).toFixed(0)}`];
  if (walk.isDreaming) figures.push("dreaming what is seen from here");
  else if (walk.unknown > 0.01) figures.push(`${(100 * walk.unknown).toFixed(0)} % of this view is not dreamt`);
  if (walk.head) figures.push(walk.head.action || "standing");
  $("figures").textContent = figures.join(" · ");
  $("note").textContent = walk.note;
}, 250);

// With a headset.
function wear(frame) {
  const pose = frame.getViewerPose(renderer.xr.getReferenceSpace());
  if (!pose) return;
  const isFirst = viewer.wear(new Matrix4().fromArray(pose.transform.matrix));
  if (isFirst) viewer.place(start);
  viewer.sticks = sticksOf(renderer.xr.getSession());
}

function sticksOf(session) {
  const sticks = { walk: [0, 0], turn: 0 }, still = axis => Math.abs(axis) < 0.15 ? 0 : axis;
  for (const { handedness, gamepad } of session.inputSources) {
    if (!gamepad) continue;
    const [x, y] = gamepad.axes.length > 2 ? gamepad.axes.slice(2) : gamepad.axes; // 0 and 1 are a touchpad's
    if (handedness === "right") sticks.turn = still(x);
    else sticks.walk = [still(x), still(y)];
  }
  return sticks;
}

let start = null;
async function enter() {
  const session = await navigator.xr.requestSession("immersive-vr");
  start = viewer.wanted;
  session.addEventListener("end", () => {
    if (viewer.worn) viewer.takeOff();
    fit();
  });
  await renderer.xr.setSession(session);
}

navigator.xr?.isSessionSupported("immersive-vr").then(can => { $("enter").hidden = !can; });
$("enter").onclick = () => enter().catch(error => { walk.note = `the headset says: ${error.message}`; });

// On a screen.
function fit() {
  if (renderer.xr.isPresenting) return;
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.setSize(innerWidth, innerHeight, false);
  camera.aspect = innerWidth / innerHeight;
  camera.fov = camera.aspect > 1.4 ? 58 : 75; // no wider than what was dreamt, nearly
  camera.updateProjectionMatrix();
}
addEventListener("resize", fit);
fit();

const view = $("view");
view.addEventListener("contextmenu", event => event.preventDefault());
view.addEventListener("pointerdown", event => {
  view.setPointerCapture(event.pointerId);
  words.blur();
  viewer.orbit.isHeld = event.button === 2 || event.shiftKey;
});
view.addEventListener("pointermove", event => {
  if (view.hasPointerCapture(event.pointerId)) viewer.drag(event.movementX, event.movementY);
});
for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, () => { viewer.orbit.isHeld = false; });

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.activeElement === words) { if (event.code === "Escape") words.blur(); return; }
  if (event.code === "Enter" && document.activeElement.tagName !== "BUTTON") { event.preventDefault(); words.focus(); }
  if (viewer.key(event.code, true)) event.preventDefault();
});
addEventListener("keyup", event => { viewer.key(event.code, false); if (event.key === "Meta") viewer.letGo(); });
addEventListener("blur", () => viewer.letGo());

$("bar").onsubmit = event => {
  event.preventDefault();
  const said = words.value.trim();
  if (said) walk.say(said);
  words.value = "";
  words.blur();
};
