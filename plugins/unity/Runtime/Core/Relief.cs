// A frame as a sheet of triangles in Unity's axes, cut at the edges of things. Knows no Unity.

using System;
using System.Collections.Generic;

namespace Roam.Core
{
    /// <summary>Plain arrays, as UnityEngine.Mesh wants them, in the axes of the camera that saw the frame.</summary>
    public sealed class Relief
    {
        const float Near = 0.05f, Far = 60f, Jump = 0.2f; // metres, metres, a part of the nearer depth

        public float[] Vertices; // x right, y up, z forward, of each pixel's middle, rows from the top
        public float[] Uv; // v grows upwards, as Unity has it
        public int[] Triangles; // clockwise from the front, as Unity has it; none across a jump in depth

        public static Relief Of(Frame frame, double fovDeg)
        {
            int width = frame.Width, height = frame.Height, count = width * height;
            var relief = new Relief { Vertices = new float[3 * count], Uv = new float[2 * count] };
            var focal = width / 2.0 / Math.Tan(fovDeg * Math.PI / 360);
            var depth = new float[count];
            for (var i = 0; i < count; i++)
            {
                double x = i % width + 0.5, y = i / width + 0.5;
                var z = depth[i] = Clean(frame.Depth == null ? 2.5f : frame.Depth[i]);
                relief.Vertices[3 * i] = (float)((x - width / 2.0) / focal * z);
                relief.Vertices[3 * i + 1] = (float)((height / 2.0 - y) / focal * z);
                relief.Vertices[3 * i + 2] = z;
                relief.Uv[2 * i] = (float)(x / width);
                relief.Uv[2 * i + 1] = (float)(1 - y / height);
            }
            relief.Triangles = Sheet(depth, width, height);
            return relief;
        }

        static float Clean(float depth)
        {
            return depth > 0 && depth < Far ? Math.Max(depth, Near) : Far;
        }

        static int[] Sheet(float[] depth, int width, int height)
        {
            var triangles = new List<int>();
            for (var row = 0; row + 1 < height; row++)
            {
                for (var column = 0; column + 1 < width; column++)
                {
                    int a = row * width + column, b = a + 1, c = a + width, d = c + 1;
                    float near = Math.Min(Math.Min(depth[a], depth[b]), Math.Min(depth[c], depth[d]));
                    float far = Math.Max(Math.Max(depth[a], depth[b]), Math.Max(depth[c], depth[d]));
                    if (far - near > Jump * near) continue;
                    triangles.AddRange(new[] { a, b, c, c, b, d });
                }
            }
            return triangles.ToArray();
        }
    }

    /// <summary>From Roam's axes (right-handed, +Z up; cameras +Y down) to Unity's (left-handed, +Y up).</summary>
    public static class Axes
    {
        /// <summary>Position (3) and quaternion x, y, z, w (4) in Unity's axes of a frame's pose.</summary>
        public static float[] OfPose(double[] pose)
        {
            if (pose.Length != 7) return new[] { 0f, 0f, 0f, 0f, 0f, 0f, 1f };
            double w = pose[3], x = pose[4], y = pose[5], z = pose[6];
            // camera axes: +Y up instead of +Y down; world axes: Y and Z change places; both mirror, which leaves a turn
            double[] right = { 1 - 2 * (y * y + z * z), 2 * (x * z - w * y), 2 * (x * y + w * z) };
            double[] up = { -2 * (x * y - w * z), -2 * (y * z + w * x), -(1 - 2 * (x * x + z * z)) };
            double[] ahead = { 2 * (x * z + w * y), 1 - 2 * (x * x + y * y), 2 * (y * z - w * x) };
            var turn = Turn(right, up, ahead);
            return new[] { (float)pose[0], (float)pose[2], (float)pose[1], turn[0], turn[1], turn[2], turn[3] };
        }

        static float[] Turn(double[] right, double[] up, double[] ahead) // of the matrix that has them as columns
        {
            double trace = right[0] + up[1] + ahead[2];
            double[] q = // the largest part first, so that no square root is taken of a number near 0
            {
                1 + right[0] - up[1] - ahead[2], 1 - right[0] + up[1] - ahead[2], 1 - right[0] - up[1] + ahead[2], 1 + trace,
            };
            var largest = Array.IndexOf(q, Math.Max(Math.Max(q[0], q[1]), Math.Max(q[2], q[3])));
            double s = 2 * Math.Sqrt(q[largest]), xy = up[0] + right[1], xz = ahead[0] + right[2], yz = ahead[1] + up[2];
            double wx = up[2] - ahead[1], wy = ahead[0] - right[2], wz = right[1] - up[0];
            double[][] rows =
            {
                new[] { s * s / 4, xy, xz, wx }, new[] { xy, s * s / 4, yz, wy }, new[] { xz, yz, s * s / 4, wz },
                new[] { wx, wy, wz, s * s / 4 },
            };
            return Array.ConvertAll(rows[largest], part => (float)(part / s));
        }
    }
}
