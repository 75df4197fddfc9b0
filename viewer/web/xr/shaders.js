// The shaders: reliefs drawn from anywhere, and the dim shell behind them. Depths are metres along a camera's forward axis.

/** Each vertex is a corner of a pixel's quad: gl_VertexID says which. size: width, height, focal length in pixels. */
export const RELIEF_VERTEX = /* glsl */`
precision highp float;
precision highp int;
in vec2 corner; // depth; cut across 1, along 2
uniform vec3 size;
uniform mat4 eye, viewMatrix, projectionMatrix;
uniform float age;
out vec2 uv;
out vec3 place;
void main() {
  int pixel = gl_VertexID >> 2, width = int(size.x);
  vec2 side = vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1);
  vec2 at = vec2(pixel % width, pixel / width) + side;
  vec2 ray = (at - size.xy / 2.0) / size.z;
  vec4 world = eye * vec4(ray.x * corner.x, -ray.y * corner.x, -corner.x, 1.0);
  int cut = int(corner.y);
  vec2 inwards = (side - 0.5) * vec2(cut & 1, cut >> 1); // an edge keeps its own colour, not its neighbour's
  uv = (at - inwards) / size.xy;
  place = world.xyz;
  gl_Position = projectionMatrix * viewMatrix * world;
  gl_Position.z += age * 0.0002 * gl_Position.w; // of two that meet, the newer is in front
}`;

/** Where the newest frame looks, it knows better than older ones; what it cannot see for something nearer, they keep. */
export const RELIEF_FRAGMENT = /* glsl */`
precision highp float;
in vec2 uv;
in vec3 place;
uniform sampler2D colours, nowDepths;
uniform mat4 now;
uniform vec3 nowSize;
uniform float age;
out vec4 colour;
void main() {
  if (age > 0.0) {
    vec3 seen = (now * vec4(place, 1.0)).xyz;
    vec2 at = nowSize.xy / 2.0 + nowSize.z * vec2(seen.x, -seen.y) / -seen.z;
    bool isInside = seen.z < 0.0 && all(greaterThan(at, vec2(0.0))) && all(lessThan(at, nowSize.xy));
    if (isInside && -seen.z < texelFetch(nowDepths, ivec2(at), 0).r * 1.1 + 0.1) discard;
  }
  colour = vec4(texture(colours, uv).rgb, 1.0);
}`;

/** The shell stands around the newest frame's eye; its vertices are directions in that camera's axes, with a depth. */
export const SHELL_VERTEX = /* glsl */`
precision highp float;
in vec3 position;
in float far;
uniform mat4 eye, viewMatrix, projectionMatrix;
out vec3 way;
void main() {
  way = position;
  gl_Position = projectionMatrix * viewMatrix * eye * vec4(position * far, 1.0);
}`;

/** What nobody has dreamt yet: the blurred edge of what was, dim, fading with the angle, and faint dots that stand still. */
export const SHELL_FRAGMENT = /* glsl */`
precision highp float;
in vec3 way;
uniform sampler2D colours;
uniform vec3 size;
uniform mat4 eye;
uniform float light;
out vec4 colour;
void main() {
  vec3 ahead = normalize(way);
  vec2 most = atan(size.xy / 2.0 / size.z), angle = vec2(atan(ahead.x, -ahead.z), asin(clamp(-ahead.y, -1.0, 1.0)));
  vec2 held = clamp(angle, -most, most);
  vec2 at = 0.5 + size.z * vec2(tan(held.x), tan(held.y) / cos(held.x)) / size.xy;
  vec3 blurred = textureLod(colours, at, 4.0).rgb;
  float away = length(angle - held);
  vec3 world = normalize(mat3(eye) * ahead);
  vec2 cell = degrees(vec2(atan(world.x, -world.z), asin(world.y))) / 6.0;
  vec2 off = (fract(cell) - 0.5) * vec2(max(cos(asin(world.y)), 0.2), 1.0);
  float dot = (1.0 - smoothstep(0.02, 0.05, length(off))) * smoothstep(0.0, 0.2, away);
  colour = vec4(blurred * light * mix(0.25, 1.0, exp(-2.0 * away)) + 0.10 * dot, 1.0);
}`;
