extends Node
# A walk in a dreamt world, for Godot 3.2 and later 3.x: the whole client in one script. Words in, frames out, over
# WebSocket; `texture` is the live frame.

signal frame_received(head, depth) # the message of protocol 1; PoolByteArray of little-endian millimetres, or empty
signal noted(sentence) # something was refused or went wrong

const PING_MS = 2000
const RETRY_MS = 1000

export var address = "ws://127.0.0.1:8080/ws"
export var seed_of_world = 0

var texture = ImageTexture.new()
var index = -1 # of the newest frame
var fov_deg = 80.0
var _socket
var _session = ""
var _token = ""
var _seq = 0
var _typed = {} # sentences without a receipt, by their seq
var _last = 0 # the last frame of the newest sentence
var _ping_at = 0
var _try_at = 0


func begin():
	_socket = WebSocketClient.new()
	_socket.connect("connection_established", self, "_on_open")
	_socket.connect("connection_error", self, "_on_lost")
	_socket.connect("connection_closed", self, "_on_lost")
	_socket.connect("data_received", self, "_on_data")
	_socket.set_buffers(16384, 64, 256, 1024) # kilobytes and packets, in then out; 64 KiB would not take a frame
	if _socket.connect_to_url(address) != OK:
		_on_lost()


# Close the walk for good.
func end():
	_send({"type": "close", "seq": _next(), "session": _session})
	_send({"type": "goodbye"})
	_socket.poll()


# Do what a sentence says: "turn left 30 degrees". Sentences are never lost and are done in order. Wait for the first frame.
func say(text):
	if not _session:
		return
	var act = {"type": "act", "seq": _next(), "session": _session, "mode": "once", "text": text}
	_typed[act.seq] = act
	_send(act)


# What the held keys mean, for example "move forward": done at every step until the next call; "" stands still.
func hold(text):
	if _session:
		_send({"type": "act", "seq": _next(), "session": _session, "mode": "hold", "text": text})


func is_told():
	return not _typed.empty() or index < _last


func _process(_delta):
	var now = OS.get_ticks_msec()
	if _try_at and now >= _try_at:
		_try_at = 0
		begin()
	if _socket:
		_socket.poll()
	if _session and now >= _ping_at:
		_ping_at = now + PING_MS
		_send({"type": "ping", "clock": now / 1000.0})


func _next():
	_seq += 1
	return _seq


func _send(message):
	if _socket == null or _socket.get_connection_status() != NetworkedMultiplayerPeer.CONNECTION_CONNECTED:
		return
	message["v"] = 1
	var header = pack(message)
	var whole = StreamPeerBuffer.new()
	whole.put_u32(header.size())
	whole.put_data(header)
	_socket.get_peer(1).put_packet(whole.data_array)


func _on_open(_protocol):
	_socket.get_peer(1).set_write_mode(WebSocketPeer.WRITE_MODE_BINARY)
	_send({"type": "hello", "versions": [1], "client": "godot 3"})


func _on_lost(_was_clean = false):
	_session = ""
	_try_at = OS.get_ticks_msec() + RETRY_MS
	emit_signal("noted", "no gateway answers at %s; trying again" % address)


func _on_data():
	var whole = _socket.get_peer(1).get_packet()
	var peer = StreamPeerBuffer.new()
	peer.data_array = whole
	var end = 4 + peer.get_u32()
	var message = unpack(whole.subarray(4, end - 1))
	_hear(message, whole.subarray(end, whole.size() - 1) if end < whole.size() else PoolByteArray())


func _hear(message, payload):
	match message.type:
		"welcome":
			fov_deg = message.fov_deg if message.fov_deg else fov_deg
			_open()
		"opened":
			_session = message.session
			_token = message.token
			_seq = int(max(_seq, message.last))
			for seq in _typed: # after a lost connection; the server does no sentence twice
				_send(_typed[seq])
		"frame":
			_look(message, payload)
		"receipt":
			if message.status == "refused":
				emit_signal("noted", message.reason)
			elif _typed.has(message.seq):
				_last = message.frame
			_typed.erase(message.seq)
		"error":
			_typed.erase(message.seq)
			if message.code == "hello_first":
				_on_open("")
			elif message.code == "unknown_session" and _token: # it was closed meanwhile
				_token = ""
				_open()
			else:
				emit_signal("noted", message.message)


func _open():
	var view = {"seq": _next(), "encoding": "jpeg", "quality": 90, "depth": "u16mm", "credits": 1}
	view["type"] = "resume" if _token else "open"
	if _token:
		view["token"] = _token
	else:
		view["seed"] = seed_of_world
	_send(view)


func _look(head, payload):
	var image = Image.new()
	if image.load_jpg_from_buffer(payload.subarray(0, head.pixel_bytes - 1)) != OK:
		emit_signal("noted", "a frame's picture cannot be read")
		return
	texture.create_from_image(image)
	index = head.index
	var depth = PoolByteArray()
	if head.depth_bytes:
		depth = payload.subarray(head.pixel_bytes, head.pixel_bytes + head.depth_bytes - 1)
	emit_signal("frame_received", head, depth)
	_send({"type": "credit", "session": head.session, "frames": 1}) # granted when a frame is taken, so that no frame is stale


# Any bool, int, float, String, Array or Dictionary as msgpack, in long forms, which every reader accepts.
static func pack(value):
	var to = StreamPeerBuffer.new()
	to.big_endian = true
	_write(to, value)
	return to.data_array


static func unpack(bytes):
	var from = StreamPeerBuffer.new()
	from.big_endian = true
	from.data_array = bytes
	return _read(from)


static func _write(to, value):
	match typeof(value):
		TYPE_BOOL:
			to.put_u8(0xc3 if value else 0xc2)
		TYPE_INT:
			to.put_u8(0xd3)
			to.put_64(value)
		TYPE_REAL:
			to.put_u8(0xcb)
			to.put_double(value)
		TYPE_STRING:
			var text = value.to_utf8()
			to.put_u8(0xda)
			to.put_u16(text.size())
			to.put_data(text)
		TYPE_ARRAY:
			to.put_u8(0xdc)
			to.put_u16(value.size())
			for item in value:
				_write(to, item)
		TYPE_DICTIONARY:
			to.put_u8(0xde)
			to.put_u16(value.size())
			for key in value:
				_write(to, key)
				_write(to, value[key])


static func _read(from):
	var type = from.get_u8()
	if type < 0x80:
		return type
	if type < 0x90:
		return _map(from, type & 15)
	if type < 0xa0:
		return _list(from, type & 15)
	if type < 0xc0:
		return _text(from, type & 31)
	if type >= 0xe0:
		return type - 256
	match type:
		0xc2: return false
		0xc3: return true
		0xca: return from.get_float()
		0xcb: return from.get_double()
		0xcc: return from.get_u8()
		0xcd: return from.get_u16()
		0xce: return from.get_u32()
		0xcf: return from.get_u64()
		0xd0: return from.get_8()
		0xd1: return from.get_16()
		0xd2: return from.get_32()
		0xd3: return from.get_64()
		0xd9: return _text(from, from.get_u8())
		0xda: return _text(from, from.get_u16())
		0xdc: return _list(from, from.get_u16())
		0xde: return _map(from, from.get_u16())
	return null


static func _text(from, length):
	return from.get_utf8_string(length) if length else ""


static func _list(from, count):
	var list = []
	for _i in range(count):
		list.append(_read(from))
	return list


static func _map(from, count):
	var map = {}
	for _i in range(count):
		var key = _read(from)
		map[key] = _read(from)
	return map
