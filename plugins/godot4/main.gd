extends Node3D
## A dream to walk in: the player moves freely between two dreamt frames, and the dream follows.
##
##	godot --path plugins/godot4 -- --address ws://127.0.0.1:8080/ws --seed 7
##
## --say "turn left 30 degrees" and --press w:2 (a key, for so many seconds) are done one after the other, with a line printed
## for each, and then the program ends: for tests and videos, without a person at the keys.

var _plan: Array[PackedStringArray] = []
var _stands := false
var _is_planned := false
var _left_s := 0.0
var _rest_s := 1.0 # until the last frames have come

@onready var walk := $Walk
@onready var player := $Player
@onready var told: Label = $Screen/Told
@onready var words: LineEdit = $Screen/Words


func _enter_tree() -> void:
	var asked := OS.get_cmdline_user_args()
	for i in range(0, asked.size() - 1, 2):
		match asked[i]:
			"--address": $Walk.address = asked[i + 1]
			"--world": $Walk.world = asked[i + 1]
			"--seed": $Walk.seed_of_world = asked[i + 1].to_int()
			"--say": _plan.append(PackedStringArray(["say", asked[i + 1]]))
			"--press": _plan.append(PackedStringArray(["press"]) + asked[i + 1].split(":"))
	_is_planned = not _plan.is_empty()


func _ready() -> void:
	walk.frame_received.connect(_on_frame)
	walk.noted.connect(_on_note)
	walk.carried.connect(player.carry)
	walk.blocked.connect(func(short: Vector3) -> void: player.global_position += short)
	words.text_submitted.connect(_on_words)
	words.focus_entered.connect(func() -> void: player.is_listening = false)
	words.focus_exited.connect(func() -> void: player.is_listening = true)


func _process(delta: float) -> void:
	if not _stands:
		return
	player.stay_near(walk.global_position)
	walk.follow(player.eye.global_transform)
	if _is_planned:
		_go_on(delta)


func _unhandled_key_input(event: InputEvent) -> void:
	if event.is_action_pressed("ui_accept"):
		words.grab_focus()


func _on_frame(head: Dictionary) -> void:
	if not _stands:
		_stands = true
		player.stand(walk.global_transform)
	told.text = "frame %d   %s" % [head.index, head.action]
	var here: Vector3 = walk.global_position
	print("frame %d %s %.4f %.4f %.4f" % [head.index, head.digest, here.x, here.y, here.z])


func _on_note(sentence: String) -> void:
	told.text = sentence
	print("note ", sentence)


func _on_words(text: String) -> void:
	walk.say(text)
	words.clear()
	words.release_focus()


func _go_on(delta: float) -> void:
	if walk.is_told():
		return
	if _left_s > 0:
		_left_s -= delta
		if _left_s <= 0:
			player.leads.clear()
			_tell_player()
		return
	if _plan.is_empty():
		_rest_s -= delta
		if _rest_s < 0:
			get_tree().quit()
		return
	var next: PackedStringArray = _plan.pop_front()
	if next[0] == "say":
		walk.say(next[1])
	else:
		player.leads[OS.find_keycode_from_string(next[1])] = true
		_left_s = next[2].to_float()


func _tell_player() -> void:
	var at: Vector3 = player.eye.global_position
	print("player %.4f %.4f %.4f touches %d" % [at.x, at.y, at.z, player.get_slide_collision_count()])
