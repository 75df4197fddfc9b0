// The part of msgpack that protocol 1 uses. Knows no socket and no Unity.
//
// Values are long, double, bool, string, null, List<object> and Message; a writer takes the shortest form of each.

using System;
using System.Collections.Generic;
using System.IO;
using System.Text;

namespace Roam.Core
{
    /// <summary>A header: keys in the order in which they were added.</summary>
    public sealed class Message
    {
        public readonly List<KeyValuePair<string, object>> Fields = new List<KeyValuePair<string, object>>();

        public Message() { }

        public Message(string type)
        {
            With("v", 1L).With("type", type);
        }

        public Message With(string key, object value)
        {
            Fields.Add(new KeyValuePair<string, object>(key, value is int ? (long)(int)value : value));
            return this;
        }

        public object this[string key]
        {
            get
            {
                foreach (var field in Fields)
                {
                    if (field.Key == key) return field.Value;
                }
                return null;
            }
        }

        public string Type { get { return Text("type"); } }
        public string Text(string key) { return this[key] as string ?? ""; }
        public long Whole(string key) { return this[key] is long ? (long)this[key] : 0; }

        public double Number(string key)
        {
            var value = this[key];
            return value is double ? (double)value : value is long ? (long)value : 0;
        }

        /// <summary>A list of numbers; empty where there is none.</summary>
        public double[] Numbers(string key)
        {
            var list = this[key] as List<object>;
            if (list == null) return new double[0];
            return list.ConvertAll(one => one is long ? (long)one : (double)one).ToArray();
        }
    }

    public static class Msgpack
    {
        public static byte[] Pack(object value)
        {
            var stream = new MemoryStream();
            Write(stream, value);
            return stream.ToArray();
        }

        /// <summary>The value that the bytes begin with. Throws FormatException for one that protocol 1 never sends.</summary>
        public static object Unpack(byte[] bytes)
        {
            var at = 0;
            return new Reader(bytes).Read(ref at);
        }

        static void Write(Stream to, object value)
        {
            if (value == null) to.WriteByte(0xc0);
            else if (value is bool) to.WriteByte((bool)value ? (byte)0xc3 : (byte)0xc2);
            else if (value is long) WriteWhole(to, (long)value);
            else if (value is double) WriteTyped(to, 0xcb, (ulong)BitConverter.DoubleToInt64Bits((double)value), 8);
            else if (value is string) WriteText(to, (string)value);
            else if (value is List<object>) WriteList(to, (List<object>)value);
            else if (value is Message) WriteMap(to, ((Message)value).Fields);
            else throw new FormatException("a " + value.GetType() + " is nothing that protocol 1 sends");
        }

        static void WriteWhole(Stream to, long value)
        {
            if (value >= -32 && value < 128) to.WriteByte((byte)value);
            else if (value < 0) WriteTyped(to, 0xd3, (ulong)value, 8);
            else if (value <= byte.MaxValue) WriteTyped(to, 0xcc, (ulong)value, 1);
            else if (value <= ushort.MaxValue) WriteTyped(to, 0xcd, (ulong)value, 2);
            else if (value <= uint.MaxValue) WriteTyped(to, 0xce, (ulong)value, 4);
            else WriteTyped(to, 0xcf, (ulong)value, 8);
        }

        static void WriteText(Stream to, string text)
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            if (bytes.Length < 32) to.WriteByte((byte)(0xa0 | bytes.Length));
            else if (bytes.Length < 256) WriteTyped(to, 0xd9, (ulong)bytes.Length, 1);
            else WriteTyped(to, 0xda, (ulong)bytes.Length, 2);
            to.Write(bytes, 0, bytes.Length);
        }

        static void WriteList(Stream to, List<object> list)
        {
            if (list.Count < 16) to.WriteByte((byte)(0x90 | list.Count));
            else WriteTyped(to, 0xdc, (ulong)list.Count, 2);
            foreach (var item in list) Write(to, item);
        }

        static void WriteMap(Stream to, List<KeyValuePair<string, object>> fields)
        {
            if (fields.Count < 16) to.WriteByte((byte)(0x80 | fields.Count));
            else WriteTyped(to, 0xde, (ulong)fields.Count, 2);
            foreach (var field in fields)
            {
                WriteText(to, field.Key);
                Write(to, field.Value);
            }
        }

        static void WriteTyped(Stream to, byte type, ulong value, int size)
        {
            to.WriteByte(type);
            for (var shift = 8 * (size - 1); shift >= 0; shift -= 8) to.WriteByte((byte)(value >> shift));
        }

        sealed class Reader
        {
            readonly byte[] bytes;

            public Reader(byte[] bytes) { this.bytes = bytes; }

            public object Read(ref int at)
            {
                int type = Take(ref at, 1)[0];
                if (type < 0x80) return (long)type;
                if (type < 0x90) return Map(ref at, type & 15);
                if (type < 0xa0) return List(ref at, type & 15);
                if (type < 0xc0) return Text(ref at, type & 31);
                if (type >= 0xe0) return (long)(type - 256);
                switch (type)
                {
                    case 0xc0: return null;
                    case 0xc2: return false;
                    case 0xc3: return true;
                    case 0xca: return (double)BitConverter.ToSingle(BitConverter.GetBytes((uint)Number(ref at, 4)), 0);
                    case 0xcb: return BitConverter.Int64BitsToDouble((long)Number(ref at, 8));
                    case 0xcc: case 0xcd: case 0xce: case 0xcf: return (long)Number(ref at, 1 << (type - 0xcc));
                    case 0xd0: return (long)(sbyte)Number(ref at, 1);
                    case 0xd1: return (long)(short)Number(ref at, 2);
                    case 0xd2: return (long)(int)Number(ref at, 4);
                    case 0xd3: return (long)Number(ref at, 8);
                    case 0xd9: case 0xda: return Text(ref at, (int)Number(ref at, 1 << (type - 0xd9)));
                    case 0xdc: return List(ref at, (int)Number(ref at, 2));
                    case 0xde: return Map(ref at, (int)Number(ref at, 2));
                }
                throw new FormatException("msgpack type " + type + " is none of protocol 1's");
            }

            byte[] Take(ref int at, int count)
            {
                if (count > bytes.Length - at) throw new FormatException("a header that ends too soon");
                var taken = new byte[count];
                Array.Copy(bytes, at, taken, 0, count);
                at += count;
                return taken;
            }

            ulong Number(ref int at, int size)
            {
                ulong value = 0;
                foreach (var one in Take(ref at, size)) value = value << 8 | one;
                return value;
            }

            string Text(ref int at, int length) { return Encoding.UTF8.GetString(Take(ref at, length)); }

            List<object> List(ref int at, int count)
            {
                var list = new List<object>();
                for (; count > 0; count--) list.Add(Read(ref at));
                return list;
            }

            Message Map(ref int at, int count)
            {
                var map = new Message();
                for (; count > 0; count--)
                {
                    var key = Read(ref at) as string;
                    map.With(key, Read(ref at));
                }
                return map;
            }
        }
    }
}
