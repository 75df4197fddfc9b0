// The parts of UnityEngine that the components use, so that a compiler can check them without Unity.

using System;

namespace UnityEngine
{
    public struct Vector2 { public Vector2(float x, float y) { } }
    public struct Vector3 { public Vector3(float x, float y, float z) { } }
    public struct Quaternion { public Quaternion(float x, float y, float z, float w) { } }
    public class Object { public string name { get; set; } }
    public class Component : Object { public T GetComponent<T>() { return default(T); } }
    public class Behaviour : Component { }
    public class MonoBehaviour : Behaviour { }
    public class Transform : Component
    {
        public Vector3 localPosition { get; set; }
        public Quaternion localRotation { get; set; }
    }
    public enum TextureFormat { RGB24 = 3 }
    public class Texture : Object
    {
        public int width { get { return 0; } }
        public int height { get { return 0; } }
    }
    public class Texture2D : Texture
    {
        public Texture2D(int width, int height, TextureFormat format, bool mipChain) { }
        public void LoadRawTextureData(byte[] data) { }
        public void Apply() { }
    }
    public class Mesh : Object
    {
        public Rendering.IndexFormat indexFormat { get; set; }
        public Vector3[] vertices { get; set; }
        public Vector2[] uv { get; set; }
        public int[] triangles { get; set; }
        public void Clear() { }
        public void RecalculateBounds() { }
    }
    public class Material : Object { public Texture mainTexture { get; set; } }
    public class MeshFilter : Component { public Mesh sharedMesh { get; set; } }
    public class Renderer : Component { public Material material { get; set; } }
    public class MeshRenderer : Renderer { }
    public class MeshCollider : Component { public Mesh sharedMesh { get; set; } }
    public static class Input { public static float GetAxisRaw(string name) { return 0; } }
    [AttributeUsage(AttributeTargets.Class)]
    public class RequireComponent : Attribute { public RequireComponent(Type one, Type other) { } }
}

namespace UnityEngine.Rendering
{
    public enum IndexFormat { UInt16, UInt32 }
}
