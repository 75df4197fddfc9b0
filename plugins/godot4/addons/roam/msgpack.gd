extends RefCounted
## The part of msgpack that protocol 1 uses. Knows no socket.


## Any bool, int, float, String, Array or Dictionary as bytes, in long forms, which every reader accepts.
static func pack(value: Variant) -> PackedByteArray:
	var to := StreamPeerBuffer.new()
	to.big_endian = true
	_write(to, value)
	return to.data_array


## The value that the bytes begin with, or null for one that protocol 1 never sends.
static func unpack(bytes: PackedByteArray) -> Variant:
	var from := StreamPeerBuffer.new()
	from.big_endian = true
	from.data_array = bytes
	return _read(from)


static func _write(to: StreamPeerBuffer, value: Variant) -> void:
	match typeof(value):
		TYPE_BOOL:
			to.put_u8(0xc3 if value else 0xc2)
		TYPE_INT:
			to.put_u8(0xd3)
			to.put_64(value)
		TYPE_FLOAT:
			to.put_u8(0xcb)
			to.put_double(value)
		TYPE_STRING:
			var text: PackedByteArray = value.to_utf8_buffer()
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
		_:
			push_error("msgpack: %s is nothing that protocol 1 sends" % type_string(typeof(value)))


static func _read(from: StreamPeerBuffer) -> Variant:
	var type := from.get_u8()
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


static func _text(from: StreamPeerBuffer, length: int) -> String:
	return from.get_utf8_string(length) if length else ""


static func _list(from: StreamPeerBuffer, count: int) -> Array:
	var list := []
	for i in count:
		list.append(_read(from))
	return list


static func _map(from: StreamPeerBuffer, count: int) -> Dictionary:
	var map := {}
	for i in count:
		var key: Variant = _read(from)
		map[key] = _read(from)
	return map
