extends Control
# The live frame on the whole window: arrows or W A S D walk, words are typed below.
#
#	godot3 --path plugins/godot3 --address=ws://127.0.0.1:8080/ws --seed=7
#
# --say="turn left 30 degrees;move forward" is said by itself, and then the program ends: for tests.

const KEYS = {
	KEY_W: "move forward", KEY_UP: "move forward", KEY_S: "move back", KEY_DOWN: "move back", KEY_A: "strafe left",
	KEY_D: "strafe right", KEY_LEFT: "turn left", KEY_RIGHT: "turn right",
}

var _plan = []
var _is_planned = false
var _rest_s = 1.0 # until the last frame has come

onready var roam = $Roam


func _ready():
	for asked in OS.get_cmdline_args():
		var parts = asked.split("=", true, 1)
		match parts[0]:
			"--address": roam.address = parts[1]
			"--seed": roam.seed_of_world = int(parts[1])
			"--say":
				_plan = Array(parts[1].split(";"))
				_is_planned = true
	roam.connect("frame_received", self, "_on_frame")
	roam.connect("noted", self, "_on_note")
	$Words.connect("text_entered", self, "_on_words")
	roam.begin()


func _process(delta):
	if not _is_planned or roam.index < 0 or roam.is_told():
		return
	if not _plan.empty():
		roam.say(_plan.pop_front())
		return
	_rest_s -= delta
	if _rest_s < 0:
		roam.end()
		get_tree().quit()


func _unhandled_key_input(event):
	if not event.echo and KEYS.has(event.scancode):
		roam.hold(KEYS[event.scancode] if event.pressed else "")


func _on_frame(head, _depth):
	$Picture.texture = roam.texture
	print("frame %d %s %d" % [head.index, head.digest, roam.texture.get_width()])


func _on_note(sentence):
	print("note ", sentence)


func _on_words(text):
	roam.say(text)
	$Words.clear()
	$Words.release_focus()
