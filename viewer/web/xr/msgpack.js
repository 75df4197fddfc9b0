// The part of msgpack that the protocol uses. Knows no socket.

const utf8 = new TextEncoder(), text = new TextDecoder();

/** A value as an array of bytes; integers, texts, lists and maps have the long forms, which every reader accepts. */
export function pack(value) {
  if (value === null || value === undefined) return [0xc0];
  if (typeof value === "boolean") return [value ? 0xc3 : 0xc2];
  if (typeof value === "number") return packNumber(value);
  if (typeof value === "string") {
    const bytes = utf8.encode(value);
    return [0xda, bytes.length >> 8, bytes.length & 255, ...bytes];
  }
  if (Array.isArray(value)) return [0xdc, value.length >> 8, value.length & 255, ...value.flatMap(pack)];
  const keys = Object.keys(value);
  return [0xde, keys.length >> 8, keys.length & 255, ...keys.flatMap(key => [...pack(key), ...pack(value[key])])];
}

function packNumber(value) {
  if (Number.isInteger(value) && value >= 0 && value < 128) return [value];
  const view = new DataView(new ArrayBuffer(9));
  if (Number.isInteger(value)) { view.setUint8(0, 0xd3); view.setBigInt64(1, BigInt(value)); }
  else { view.setUint8(0, 0xcb); view.setFloat64(1, value); }
  return [...new Uint8Array(view.buffer)];
}

const NUMBERS = {
  0xca: [4, "getFloat32"], 0xcb: [8, "getFloat64"], 0xcc: [1, "getUint8"], 0xcd: [2, "getUint16"],
  0xce: [4, "getUint32"], 0xcf: [8, "getBigUint64"], 0xd0: [1, "getInt8"], 0xd1: [2, "getInt16"],
  0xd2: [4, "getInt32"], 0xd3: [8, "getBigInt64"],
};

/** The value that a Uint8Array begins with. Throws for one that the protocol never sends, such as an extension type. */
export function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = ([size, get]) => { at += size; return Number(view[get](at - size)); };
  const string = length => text.decode(bytes.subarray(at, at += length));
  const list = length => Array.from({ length }, read);
  const map = length => Object.fromEntries(Array.from({ length }, () => [read(), read()]));
  const uint8 = NUMBERS[0xcc], uint16 = NUMBERS[0xcd];
  function read() {
    const type = take(uint8);
    if (type < 0x80) return type;
    if (type < 0x90) return map(type & 15);
    if (type < 0xa0) return list(type & 15);
    if (type < 0xc0) return string(type & 31);
    if (type >= 0xe0) return type - 256;
    if (NUMBERS[type]) return take(NUMBERS[type]);
    switch (type) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xd9: return string(take(uint8));
      case 0xda: return string(take(uint16));
      case 0xdc: return list(take(uint16));
      case 0xde: return map(take(uint16));
      default: throw new Error(`msgpack type ${type} is none of protocol 1's`);
    }
  }
  return read();
}
