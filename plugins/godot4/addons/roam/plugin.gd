@tool
extends EditorPlugin
## Lists the walk among the nodes that a scene can have.


func _enter_tree() -> void:
	add_custom_type("RoamWalk", "Node3D", preload("walk.gd"), null)


func _exit_tree() -> void:
	remove_custom_type("RoamWalk")
