extends Node3D
## A walk in a dreamt world as a node: it is at the pose that the newest frame was seen from, with that frame's relief and
## collisions below it. `say` does sentences; `follow` has the dream follow a player, who moves freely between frames.
##
## Only place_of converts Roam's axes, +Z up, to Godot's.

const Line := preload("line.gd")
const Relief := preload("relief.gd")
const STRIDE_M := 0.3 # of a step, at most: as large as a model has learnt them
const TURN_DEG := 15.0
const NEAR_M := 0.06 # the dream does not follow a player who is nearer than this
const NEAR_DEG := 3.0
const SLIP_M := 0.03 # a walker who got so much less far than was told has met a wall
const MAX_PITCH := 60.0

## A frame has come; `head` is the message of protocol 1, this node stands where it was seen from.
signal frame_received(head: Dictionary)
## Something was refused or went wrong; a sentence says what.
signal noted(sentence: String)
## A sentence has moved the walker from one place to another: move the player too.
signal carried(from: Transform3D, to: Transform3D)
## A wall stopped the walker so many metres, in the world, short of its goal: hold the player back.
signal blocked(short: Vector3)

@export var address := "ws://127.0.0.1:8080/ws"
@export var world := ""
@export var seed_of_world := 0

var fov_deg := 80.0
var relief := Relief.new()
var _line: Line
var _session := ""
var _token := ""
var _seq := 0
var _opening := 0
var _has_place := false
var _step := {} # the act that follows the player, until its frame; empty when there is none
var _typed := {} # sentences without a receipt, by their seq
var _last := 0 # the last frame of the newest sentence
var _index := 0


func _ready() -> void:
	add_child(relief)
	_line = Line.new(address)
	_line.heard.connect(_hear)
	_line.lost.connect(_lose)


func _process(_delta: float) -> void:
	_line.poll()


func _exit_tree() -> void:
	if _session:
		_line.say({"type": "close", "seq": _next(), "session": _session})
	_line.close()


## Whether sentences are still being done.
func is_told() -> bool:
	return not _typed.is_empty() or _index < _last


## Do what a sentence says: "turn left 30 degrees". Sentences are never lost and are done in order. Wait for the first frame.
func say(text: String) -> void:
	if not _session:
		return
	var act := {"type": "act", "seq": _next(), "session": _session, "mode": "once", "text": text}
	_typed[act.seq] = act
	_line.say(act)


## Follow a player's eye by one step, if nothing else is in progress.
func follow(eye: Transform3D) -> void:
	if not _has_place or not _session or not _step.is_empty() or is_told():
		return
	var here := angles_of(global_transform)
	var there := angles_of(eye)
	var way := (eye.origin - global_position).rotated(Vector3.UP, -deg_to_rad(here.x))
	var far := Vector2(way.x, way.z).length()
	var left := wrapf(there.x - here.x, -180.0, 180.0)
	var up := clampf(there.y, -MAX_PITCH, MAX_PITCH) - here.y
	if far < NEAR_M and absf(left) < NEAR_DEG and absf(up) < NEAR_DEG:
		return
	var part := minf(1.0, STRIDE_M / maxf(far, 1e-6))
	var motion := [-way.z * part, way.x * part, clampf(left, -TURN_DEG, TURN_DEG), clampf(up, -TURN_DEG, TURN_DEG)]
	_step = {"type": "act", "seq": _next(), "session": _session, "mode": "once", "text": "", "motion": motion}
	_line.say(_step)


## Yaw (left, 0 along -Z) and pitch (up) in degrees.
static func angles_of(place: Transform3D) -> Vector2:
	var ahead := -place.basis.z
	return Vector2(rad_to_deg(atan2(-ahead.x, -ahead.z)), rad_to_deg(asin(clampf(ahead.y, -1.0, 1.0))))


## The pose of a frame, seven numbers, in Godot's axes.
static func place_of(pose: Array) -> Transform3D:
	if pose.size() != 7:
		return Transform3D.IDENTITY
	var turn := Quaternion(pose[4], pose[5], pose[6], pose[3])
	var y_up := Quaternion(Vector3.RIGHT, -PI / 2) # (x, y, z) becomes (x, z, -y)
	var to_eye := Quaternion(Vector3.RIGHT, PI) # +Y up and -Z forward instead of +Y down and +Z forward
	return Transform3D(Basis((y_up * turn * to_eye).normalized()), Vector3(pose[0], pose[2], -pose[1]))


func _next() -> int:
	_seq += 1
	return _seq


func _lose(why: String) -> void:
	_session = ""
	_step = {}
	noted.emit(why)


func _hear(message: Dictionary, payload: PackedByteArray) -> void:
	match message.type:
		"welcome":
			fov_deg = message.fov_deg if message.fov_deg else fov_deg
			_begin()
		"opened":
			_opened(message)
		"receipt":
			_receipt(message)
		"frame":
			if message.session == _session:
				_look(message, payload)
		"goodbye":
			noted.emit(message.reason)
		"error":
			_refused(message)


func _begin() -> void:
	_opening = _next()
	var view := {"seq": _opening, "encoding": "jpeg", "quality": 90, "depth": "f32", "credits": 1}
	if _token:
		view.merge({"type": "resume", "token": _token})
	else:
		view.merge({"type": "open", "world": world, "seed": seed_of_world})
	_line.say(view)


func _opened(message: Dictionary) -> void:
	_session = message.session
	_token = message.token
	_seq = maxi(_seq, message.last)
	for seq in _typed: # after a lost connection; the server does no sentence twice
		_line.say(_typed[seq])


func _receipt(message: Dictionary) -> void:
	if message.status == "refused":
		noted.emit(message.reason)
	elif message.seq in _typed:
		_last = message.frame
	if message.seq == _step.get("seq") and message.status != "applied":
		_step = {}
	_typed.erase(message.seq)


func _refused(message: Dictionary) -> void:
	if message.code == "unknown_session" and _token and message.seq == _opening:
		_token = ""
		return _begin()
	if message.seq == _step.get("seq"):
		_step = {}
	_typed.erase(message.seq)
	noted.emit(message.message)


func _look(head: Dictionary, payload: PackedByteArray) -> void:
	var before := global_transform
	_index = head.index
	global_transform = place_of(head.pose)
	relief.show_frame(head, payload, fov_deg)
	if head.seq == _step.get("seq"):
		_hold(before)
	elif _has_place:
		carried.emit(before, global_transform)
	_has_place = true
	frame_received.emit(head)
	_line.say({"type": "credit", "session": _session, "frames": 1}) # granted when a frame is taken, so that no frame is stale


func _hold(before: Transform3D) -> void:
	var told := Vector3(_step.motion[1], 0, -_step.motion[0]).rotated(Vector3.UP, deg_to_rad(angles_of(before).x))
	var short := global_position - before.origin - told
	short.y = 0
	_step = {}
	if short.length() > SLIP_M:
		blocked.emit(short)
