extends RefCounted
## A connection to a Roam gateway: protocol 1 over WebSocket, opened again when it is lost. Knows no walk.

const Msgpack := preload("msgpack.gd")
const ROOM := 16 << 20 # bytes; with Godot's default of 64 KiB the connection would break at the first frame
const PING_S := 2.0
const RETRY_S := 1.0

signal heard(message: Dictionary, payload: PackedByteArray)
signal lost(why: String)

var _socket: WebSocketPeer
var _address: String
var _is_open := false
var _next_ping := 0.0
var _next_try := 0.0


func _init(address: String) -> void:
	_address = address


func say(message: Dictionary) -> void:
	if not _is_open:
		return
	message["v"] = 1
	var header := Msgpack.pack(message)
	var whole := PackedByteArray()
	whole.resize(4)
	whole.encode_u32(0, header.size())
	whole.append_array(header)
	_socket.send(whole)


## Call it once a frame: it emits `heard` for every message that has come.
func poll() -> void:
	var now := Time.get_ticks_msec() / 1000.0
	if _socket == null:
		if now >= _next_try:
			_connect()
		return
	_socket.poll()
	match _socket.get_ready_state():
		WebSocketPeer.STATE_OPEN:
			_greet(now)
			while _socket.get_available_packet_count():
				_hear(_socket.get_packet())
		WebSocketPeer.STATE_CLOSED:
			lost.emit("no gateway answers at %s" % _address if not _is_open else "the line is lost; trying again")
			_is_open = false
			_socket = null
			_next_try = now + RETRY_S


## Close the connection at once, after sending what was said.
func close() -> void:
	if _socket:
		say({"type": "goodbye"})
		_socket.poll()
		_socket.close()
		_socket.poll()
	_socket = null
	_next_try = INF


func _connect() -> void:
	_socket = WebSocketPeer.new()
	_socket.inbound_buffer_size = ROOM
	_socket.connect_to_url(_address)


func _greet(now: float) -> void:
	if not _is_open:
		_is_open = true
		_say_hello()
	if now >= _next_ping:
		_next_ping = now + PING_S
		say({"type": "ping", "clock": now})


func _hear(whole: PackedByteArray) -> void:
	var end := 4 + whole.decode_u32(0)
	var message: Variant = Msgpack.unpack(whole.slice(4, end))
	if not message is Dictionary:
		return
	if message.type == "error" and message.code == "hello_first": # silent for too long, and forgotten
		return _say_hello()
	heard.emit(message, whole.slice(end))


func _say_hello() -> void:
	say({"type": "hello", "versions": [1], "client": "godot 4"})
