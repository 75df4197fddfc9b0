// A connection to a Roam server: a ZeroMQ DEALER (ZMTP 3.1, no keys) on a plain socket. Knows no walk and no Unity.

using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Text;

namespace Roam.Core
{
    /// <summary>Sends and reads messages; Read blocks, Send may be called from another thread meanwhile.</summary>
    public sealed class Line : IDisposable
    {
        const int More = 1, Long = 2, Command = 4;
        const long Most = 64 << 20; // bytes of a part

        readonly TcpClient client;
        readonly Stream stream;
        readonly object sending = new object();

        /// <summary>Throws IOException or SocketException if no server answers.</summary>
        public Line(string host, int port)
        {
            client = new TcpClient(host, port) { NoDelay = true };
            stream = client.GetStream();
            var greeting = new byte[64];
            greeting[0] = 0xff;
            greeting[9] = 0x7f;
            greeting[10] = 3;
            greeting[11] = 1;
            Encoding.ASCII.GetBytes("NULL").CopyTo(greeting, 12);
            stream.Write(greeting, 0, 64);
            Exactly(64);
            WriteFrame(Command, Encoding.ASCII.GetBytes("\u0005READY\u000bSocket-Type\0\0\0\u0006DEALER"));
            Send(new Message("hello").With("versions", new List<object> { 1L }).With("client", "unity"));
        }

        public void Send(Message message) { WriteFrame(0, Msgpack.Pack(message)); }

        /// <summary>The next message and its payload, which is empty if it has none.</summary>
        public Message Read(out byte[] payload)
        {
            while (true)
            {
                int flags;
                var parts = new List<byte[]> { Part(out flags) };
                if ((flags & Command) != 0)
                {
                    Answer(parts[0]);
                    continue;
                }
                while ((flags & More) != 0) parts.Add(Part(out flags));
                payload = parts.Count > 1 ? parts[1] : new byte[0];
                return (Message)Msgpack.Unpack(parts[0]);
            }
        }

        /// <summary>Send no more; Read ends when the server has read everything. A plain close could lose the last messages.</summary>
        public void Finish() { client.Client.Shutdown(SocketShutdown.Send); }

        public void Dispose() { client.Close(); }

        void Answer(byte[] command) // a server disconnects clients that do not answer a PING with its context
        {
            if (command.Length < 7 || Encoding.ASCII.GetString(command, 1, 4) != "PING") return;
            var pong = new byte[command.Length - 2];
            Encoding.ASCII.GetBytes("\u0004PONG").CopyTo(pong, 0);
            Array.Copy(command, 7, pong, 5, command.Length - 7);
            WriteFrame(Command, pong);
        }

        void WriteFrame(int flags, byte[] body)
        {
            var frame = new byte[9 + body.Length];
            frame[0] = (byte)(flags | Long);
            for (var i = 0; i < 8; i++) frame[1 + i] = (byte)((long)body.Length >> (56 - 8 * i));
            body.CopyTo(frame, 9);
            lock (sending) stream.Write(frame, 0, frame.Length);
        }

        byte[] Part(out int flags)
        {
            flags = Exactly(1)[0];
            long length = 0;
            foreach (var one in Exactly((flags & Long) != 0 ? 8 : 1)) length = length << 8 | one;
            if (length < 0 || length > Most) throw new IOException("a part of " + length + " bytes; is this a Roam server?");
            return Exactly((int)length);
        }

        byte[] Exactly(int count)
        {
            var bytes = new byte[count];
            for (var at = 0; at < count;)
            {
                var read = stream.Read(bytes, at, count - at);
                if (read == 0) throw new IOException("the server hung up; does it want keys?");
                at += read;
            }
            return bytes;
        }
    }
}
