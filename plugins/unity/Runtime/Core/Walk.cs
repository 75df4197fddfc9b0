// A walk on a Roam server: words in, frames out, never waiting. Knows no Unity.

using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Threading;

namespace Roam.Core
{
    /// <summary>A frame.</summary>
    public sealed class Frame
    {
        public long Index;
        public int Width, Height;
        public byte[] Pixels; // RGB, rows from the top
        public float[] Depth; // metres along the camera's forward axis, rows from the top; null where the world has none
        public double[] Pose; // x, y, z in metres, then the quaternion w, x, y, z, in Roam's axes; empty where there is none
        public string Digest;
        public string Action;
    }

    /// <summary>Reads on a thread of its own; call Next once for each picture that is drawn.</summary>
    public sealed class Walk : IDisposable
    {
        const int PingMs = 3000;

        readonly Queue<Frame> frames = new Queue<Frame>();
        readonly Queue<string> notes = new Queue<string>();
        readonly Dictionary<long, string> typed = new Dictionary<long, string>();
        readonly object held = new object();
        Line line;
        Timer pinging;
        long seq = 1; // of `open`
        string session = "";
        bool isClosed;
        Frame shown;

        public double FovDeg { get; private set; }
        public string Session { get { lock (held) return session; } }

        /// <summary>Sentences that are not done yet.</summary>
        public int Waiting { get { lock (held) return typed.Count; } }

        /// <summary>Begins at once, on another thread; NextNote says what has failed.</summary>
        public Walk(string host, int port, long seed, string model = "", string world = "")
        {
            FovDeg = 80;
            var open = new Message("open").With("seq", seq).With("encoding", "raw").With("depth", "f32").With("credits", 1L);
            open.With("model", model).With("world", world).With("seed", seed);
            new Thread(() => Run(host, port, open)) { IsBackground = true, Name = "roam" }.Start();
        }

        /// <summary>Do what a sentence says: "turn left 30 degrees"; in order, and not before the first frame.</summary>
        public void Say(string text) { Act("once", text); }

        /// <summary>What the held keys mean, for example "move forward": done at every step until the next call; "" stands still.</summary>
        public void Hold(string text) { Act("hold", text); }

        /// <summary>The newest frame that has come since the last call, or null.</summary>
        public Frame Next()
        {
            lock (held)
            {
                if (frames.Count == 0) return null;
                while (frames.Count > 1) frames.Dequeue();
                shown = frames.Dequeue();
            }
            Tell(new Message("credit").With("session", session).With("frames", 1L)); // granted when a frame is taken, so that no frame is stale
            return shown;
        }

        /// <summary>A sentence about what was refused or went wrong, or null.</summary>
        public string NextNote()
        {
            lock (held) return notes.Count > 0 ? notes.Dequeue() : null;
        }

        /// <summary>End the walk for good.</summary>
        public void Dispose()
        {
            Line open;
            lock (held)
            {
                isClosed = true;
                open = line;
            }
            if (pinging != null) pinging.Dispose();
            if (open == null) return;
            if (session != "") Tell(new Message("close").With("seq", Interlocked.Increment(ref seq)).With("session", session));
            Tell(new Message("goodbye"));
            open.Finish();
        }

        void Act(string mode, string text)
        {
            Message act;
            lock (held)
            {
                if (session == "") return;
                act = new Message("act").With("seq", ++seq).With("session", session).With("mode", mode).With("text", text);
                if (mode == "once") typed[seq] = text;
            }
            Tell(act);
        }

        void Tell(Message message)
        {
            try
            {
                line.Send(message);
            }
            catch (IOException error)
            {
                Note(error.Message);
            }
            catch (ObjectDisposedException)
            {
                Note("the walk is closed");
            }
        }

        void Run(string host, int port, Message open)
        {
            try
            {
                using (var opened = new Line(host, port))
                {
                    lock (held) line = opened;
                    if (isClosed) return;
                    pinging = new Timer(_ => Tell(new Message("ping")), null, PingMs, PingMs);
                    while (true)
                    {
                        byte[] payload;
                        Hear(opened.Read(out payload), payload, open);
                    }
                }
            }
            catch (Exception error)
            {
                var why = error is SocketException ? "no server answers at " + host + ":" + port : error.Message;
                if (!isClosed) Note(why);
            }
        }

        void Hear(Message message, byte[] payload, Message open)
        {
            switch (message.Type)
            {
                case "welcome":
                    if (message.Number("fov_deg") > 0) FovDeg = message.Number("fov_deg");
                    line.Send(open);
                    break;
                case "opened":
                    lock (held) session = message.Text("session");
                    break;
                case "frame":
                    lock (held) frames.Enqueue(FrameOf(message, payload));
                    break;
                case "receipt":
                    Done(message.Whole("seq"), message.Text("status") == "refused" ? message.Text("reason") : null);
                    break;
                case "error":
                    Done(message.Whole("seq"), message.Text("message"));
                    break;
                case "goodbye":
                    Note(message.Text("reason"));
                    break;
            }
        }

        void Done(long which, string refusal)
        {
            lock (held)
            {
                typed.Remove(which);
                if (refusal != null) notes.Enqueue(refusal); // before the count falls: a caller who sees that nothing waits finds the reason
            }
        }

        void Note(string sentence)
        {
            lock (held) notes.Enqueue(sentence);
        }

        static Frame FrameOf(Message head, byte[] payload)
        {
            int pixels = (int)head.Whole("pixel_bytes"), depths = (int)head.Whole("depth_bytes");
            if (payload.Length < pixels + depths) throw new IOException("a frame shorter than its header says");
            var frame = new Frame
            {
                Index = head.Whole("index"), Width = (int)head.Whole("width"), Height = (int)head.Whole("height"),
                Pixels = new byte[pixels], Depth = depths > 0 ? new float[depths / 4] : null, Pose = head.Numbers("pose"),
                Digest = head.Text("digest"), Action = head.Text("action"),
            };
            Buffer.BlockCopy(payload, 0, frame.Pixels, 0, pixels);
            if (depths > 0) Buffer.BlockCopy(payload, pixels, frame.Depth, 0, depths);
            return frame;
        }
    }
}
