// A walk in a dreamt world as a component: keys and sentences in, the live frame out as a texture, a relief and a collider.
// Compiled against stubs of UnityEngine and never tried in the editor: see README.md.

using System;
using Roam.Core;
using UnityEngine;

namespace Roam
{
    /// <summary>Put it on an empty object; the camera may be a child of `eye`, and free to move in between frames.</summary>
    public sealed class RoamWalk : MonoBehaviour
    {
        public string host = "127.0.0.1";
        public int port = 5555;
        public long seed;
        public Transform eye; // stands where the newest frame was seen from
        public bool readsKeys = true;

        /// <summary>The newest frame, rows from the bottom as Unity has them.</summary>
        public Texture2D Texture { get; private set; }

        public double FovDeg { get { return walk.FovDeg; } }

        /// <summary>A frame has come; Texture and eye are of it.</summary>
        public event Action<Frame> FrameReceived;

        /// <summary>A sentence about what was refused or went wrong.</summary>
        public event Action<string> Noted;

        Walk walk;
        string keys = "";

        /// <summary>Do what a sentence says: "turn left 30 degrees".</summary>
        public void Say(string text) { walk.Say(text); }

        void OnEnable() { walk = new Walk(host, port, seed); }

        void OnDisable() { walk.Dispose(); }

        void Update()
        {
            if (readsKeys) Lean(Held());
            var note = walk.NextNote();
            if (note != null && Noted != null) Noted(note);
            var frame = walk.Next();
            if (frame != null) Show(frame);
        }

        void Lean(string now)
        {
            if (now == keys || walk.Session == "") return;
            keys = now;
            walk.Hold(now);
        }

        static string Held()
        {
            var held = "";
            float forward = Input.GetAxisRaw("Vertical"), right = Input.GetAxisRaw("Horizontal");
            if (forward != 0) held = forward > 0 ? "move forward" : "move back";
            if (right != 0) held += (held == "" ? "" : " and ") + (right > 0 ? "turn right" : "turn left");
            return held;
        }

        void Show(Frame frame)
        {
            if (Texture == null || Texture.width != frame.Width || Texture.height != frame.Height)
            {
                Texture = new Texture2D(frame.Width, frame.Height, TextureFormat.RGB24, false);
            }
            Texture.LoadRawTextureData(Upright(frame));
            Texture.Apply();
            var place = Axes.OfPose(frame.Pose);
            if (eye != null)
            {
                eye.localPosition = new Vector3(place[0], place[1], place[2]);
                eye.localRotation = new Quaternion(place[3], place[4], place[5], place[6]);
            }
            if (FrameReceived != null) FrameReceived(frame);
        }

        static byte[] Upright(Frame frame) // Unity's row 0 is the lowest
        {
            int row = 3 * frame.Width;
            var turned = new byte[frame.Pixels.Length];
            for (var y = 0; y < frame.Height; y++)
            {
                Buffer.BlockCopy(frame.Pixels, y * row, turned, (frame.Height - 1 - y) * row, row);
            }
            return turned;
        }
    }
}
