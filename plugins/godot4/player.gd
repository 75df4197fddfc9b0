extends CharacterBody3D
## The player's body: W A S D walk, arrows and the mouse turn it, and it bumps into surfaces that were seen. It may be a
## little ahead of the dream; main.gd has the dream follow it.

const WALK_M_S := 1.6
const TURN_DEG_S := 80.0
const MOUSE_DEG := 0.2 # a pixel
const AHEAD_M := 0.6 # at most this far ahead of the dream

var is_listening := true # not while words are typed
var leads := {} # keys that a script holds: Key to true

@onready var eye: Camera3D = $Eye


func _physics_process(delta: float) -> void:
	var forward := _held(KEY_W, KEY_UP) - _held(KEY_S, KEY_DOWN)
	var right := _held(KEY_D, KEY_D) - _held(KEY_A, KEY_A)
	var left := _held(KEY_Q, KEY_LEFT) - _held(KEY_E, KEY_RIGHT)
	rotate_y(deg_to_rad(left * TURN_DEG_S * delta))
	velocity = (global_basis * Vector3(right, 0, -forward)).normalized() * WALK_M_S
	move_and_slide()


func _unhandled_input(event: InputEvent) -> void:
	if event is InputEventMouseMotion and event.button_mask:
		rotate_y(deg_to_rad(-event.relative.x * MOUSE_DEG))
		_nod(-event.relative.y * MOUSE_DEG)


## Go to where the dream is.
func stand(place: Transform3D) -> void:
	var angles := preload("addons/roam/walk.gd").angles_of(place)
	global_position = place.origin
	rotation = Vector3(0, deg_to_rad(angles.x), 0)
	eye.rotation = Vector3(deg_to_rad(angles.y), 0, 0)


## Move as a sentence has moved the walker, from one place to another.
func carry(from: Transform3D, to: Transform3D) -> void:
	var by := preload("addons/roam/walk.gd").angles_of(to) - preload("addons/roam/walk.gd").angles_of(from)
	var turn := deg_to_rad(by.x)
	global_position = to.origin + (global_position - from.origin).rotated(Vector3.UP, turn)
	rotate_y(turn)
	_nod(by.y)


## Stay within AHEAD_M of the dream.
func stay_near(place: Vector3) -> void:
	var off := global_position - place
	global_position.y = place.y
	off.y = 0
	if off.length() > AHEAD_M:
		global_position = place + off.limit_length(AHEAD_M)


func _nod(deg: float) -> void:
	eye.rotation.x = clampf(eye.rotation.x + deg_to_rad(deg), deg_to_rad(-60), deg_to_rad(60))


func _held(key: Key, other: Key) -> float:
	var is_held := Input.is_physical_key_pressed(key) or Input.is_physical_key_pressed(other)
	return 1.0 if leads.has(key) or (is_listening and is_held) else 0.0
