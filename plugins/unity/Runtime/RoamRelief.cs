// The live frame as geometry: a sheet at the depth that was seen, with a collider to stand on and bump into.
// Compiled against stubs of UnityEngine and never tried in the editor: see README.md.

using Roam.Core;
using UnityEngine;

namespace Roam
{
    /// <summary>Put it on a child of the walk's `eye`, with a material that shows its main texture unlit.</summary>
    [RequireComponent(typeof(MeshFilter), typeof(MeshRenderer))]
    public sealed class RoamRelief : MonoBehaviour
    {
        public RoamWalk walk;
        public MeshCollider solid; // may be left out

        Mesh mesh;

        void OnEnable()
        {
            mesh = new Mesh { name = "Roam relief", indexFormat = UnityEngine.Rendering.IndexFormat.UInt32 };
            GetComponent<MeshFilter>().sharedMesh = mesh;
            walk.FrameReceived += Show;
        }

        void OnDisable() { walk.FrameReceived -= Show; }

        void Show(Frame frame)
        {
            var relief = Relief.Of(frame, walk.FovDeg);
            var count = relief.Vertices.Length / 3;
            Vector3[] vertices = new Vector3[count];
            Vector2[] uv = new Vector2[count];
            for (var i = 0; i < count; i++)
            {
                vertices[i] = new Vector3(relief.Vertices[3 * i], relief.Vertices[3 * i + 1], relief.Vertices[3 * i + 2]);
                uv[i] = new Vector2(relief.Uv[2 * i], relief.Uv[2 * i + 1]);
            }
            mesh.Clear();
            mesh.vertices = vertices;
            mesh.uv = uv;
            mesh.triangles = relief.Triangles;
            mesh.RecalculateBounds();
            GetComponent<MeshRenderer>().material.mainTexture = walk.Texture;
            if (solid != null) solid.sharedMesh = mesh;
        }
    }
}
