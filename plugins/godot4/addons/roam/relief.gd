extends MeshInstance3D
## A frame as a relief, a child of the node at the pose that it was seen from: a sheet that a shader pushes out to the depth
## of each pixel and darkens at the edges of things, where it is torn; and a coarser sheet to bump into. Knows no server.

const FAR := 60.0 # metres; pixels farther than this, or without depth, are put there
const CARD := 2.5 # metres; a world without depth is a flat card at this distance
const SOLID := 32 # cells a side of the sheet that bodies bump into
const JUMP := 0.2 # neighbours whose depths differ by more than this part of the nearer are two surfaces

var colours := ImageTexture.new()
var depths := ImageTexture.new()
var _shape := ConcavePolygonShape3D.new()
var _size := Vector2i.ZERO


func _init() -> void:
	var material := ShaderMaterial.new()
	material.shader = preload("relief.gdshader")
	material_override = material
	extra_cull_margin = FAR # the engine takes the sheet for flat, and the shader moves it
	_shape.backface_collision = true
	var holder := CollisionShape3D.new()
	holder.shape = _shape
	var body := StaticBody3D.new()
	body.add_child(holder)
	add_child(body)


## head, payload: a frame of protocol 1 with JPEG pixels and f32 depth.
func show_frame(head: Dictionary, payload: PackedByteArray, fov_deg: float) -> void:
	var picture := Image.new()
	if picture.load_jpg_from_buffer(payload.slice(0, head.pixel_bytes)) != OK:
		return push_error("roam: a frame's picture cannot be read")
	var size := Vector2i(head.width, head.height)
	var metres := payload.slice(head.pixel_bytes, head.pixel_bytes + head.depth_bytes)
	if metres.is_empty():
		var card := PackedFloat32Array()
		card.resize(size.x * size.y)
		card.fill(CARD)
		metres = card.to_byte_array()
	_draw(picture, Image.create_from_data(size.x, size.y, false, Image.FORMAT_RF, metres), fov_deg)
	_shape.set_faces(faces_of(metres.to_float32_array(), size, fov_deg))


## Triangles to bump into, three points each, in this node's axes: none across a jump in depth.
static func faces_of(depth: PackedFloat32Array, size: Vector2i, fov_deg: float) -> PackedVector3Array:
	var focal := size.x / 2.0 / tan(deg_to_rad(fov_deg) / 2)
	var points := PackedVector3Array()
	for row in SOLID + 1:
		for column in SOLID + 1:
			var x := mini(column * size.x / SOLID, size.x - 1)
			var y := mini(row * size.y / SOLID, size.y - 1)
			var z := depth[y * size.x + x]
			z = z if z > 0.0 and z < FAR else FAR
			points.append(Vector3((x + 0.5 - size.x / 2.0) * z / focal, (size.y / 2.0 - y - 0.5) * z / focal, -z))
	var faces := PackedVector3Array()
	for row in SOLID:
		for column in SOLID:
			var at := row * (SOLID + 1) + column
			var cell := [points[at], points[at + 1], points[at + SOLID + 1], points[at + SOLID + 2]]
			var zs := cell.map(func(point: Vector3) -> float: return -point.z)
			if zs.max() < FAR and zs.max() - zs.min() < 3 * JUMP * zs.min():
				faces.append_array([cell[0], cell[1], cell[2], cell[2], cell[1], cell[3]])
	return faces


func _draw(picture: Image, depth: Image, fov_deg: float) -> void:
	var size := depth.get_size()
	if size != _size:
		_size = size
		colours = ImageTexture.create_from_image(picture)
		depths = ImageTexture.create_from_image(depth)
		var sheet := PlaneMesh.new() # the shader uses only its texture coordinates
		sheet.subdivide_width = size.x - 2
		sheet.subdivide_depth = size.y - 2
		mesh = sheet
	else:
		colours.update(picture)
		depths.update(depth)
	material_override.set_shader_parameter("colours", colours)
	material_override.set_shader_parameter("depths", depths)
	material_override.set_shader_parameter("focal", size.x / 2.0 / tan(deg_to_rad(fov_deg) / 2))
