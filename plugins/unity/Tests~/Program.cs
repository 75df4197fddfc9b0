// The core on a console, for tests and to try it:
//
//   mono roam.exe golden                      reads "type hex" lines; writes each header again as it packs it
//   mono roam.exe walk HOST PORT SEED WORDS   walks, and writes each frame's index, digest, pose in Unity's axes and relief

using System;
using System.Globalization;
using System.Threading;
using Roam.Core;

static class Program
{
    static int Main(string[] args)
    {
        Thread.CurrentThread.CurrentCulture = CultureInfo.InvariantCulture;
        return args[0] == "golden" ? Golden() : Walked(args);
    }

    static int Golden()
    {
        for (var line = Console.ReadLine(); line != null; line = Console.ReadLine())
        {
            var parts = line.Split(' ');
            var bytes = new byte[parts[1].Length / 2];
            for (var i = 0; i < bytes.Length; i++) bytes[i] = Convert.ToByte(parts[1].Substring(2 * i, 2), 16);
            var message = (Message)Msgpack.Unpack(bytes);
            Console.WriteLine(message.Type + " " + BitConverter.ToString(Msgpack.Pack(message)).Replace("-", "").ToLower());
        }
        return 0;
    }

    static int Walked(string[] args)
    {
        using (var walk = new Walk(args[1], int.Parse(args[2]), long.Parse(args[3])))
        {
            var refused = Until(walk, () => Show(walk.Next(), walk.FovDeg));
            for (var i = 4; i < args.Length && refused == null; i++)
            {
                walk.Say(args[i]);
                refused = Until(walk, () => { Show(walk.Next(), walk.FovDeg); return walk.Waiting == 0; });
            }
            for (var last = DateTime.UtcNow; refused == null && DateTime.UtcNow - last < TimeSpan.FromSeconds(0.5);)
            {
                if (Show(walk.Next(), walk.FovDeg)) last = DateTime.UtcNow; // the receipt comes before its frame
                else Thread.Sleep(1);
            }
            if (refused == null) return 0;
            Console.Error.WriteLine(refused);
            return 1;
        }
    }

    static string Until(Walk walk, Func<bool> isSo)
    {
        for (var end = DateTime.UtcNow.AddSeconds(60); DateTime.UtcNow < end; Thread.Sleep(1))
        {
            var isDone = isSo(); // before the note is asked for, which may come in between
            var note = walk.NextNote();
            if (note != null || isDone) return note;
        }
        return "nothing came for a minute";
    }

    static bool Show(Frame frame, double fovDeg)
    {
        if (frame == null) return false;
        var place = string.Join(" ", Array.ConvertAll(Axes.OfPose(frame.Pose), one => one.ToString("0.0000")));
        var relief = Relief.Of(frame, fovDeg);
        var middle = 3 * (frame.Height / 2 * frame.Width + frame.Width / 2);
        var ahead = string.Join(" ", Array.ConvertAll(new[] { 0, 1, 2 }, i => relief.Vertices[middle + i].ToString("0.0000")));
        Console.WriteLine("{0} {1} {2} {3} {4}", frame.Index, frame.Digest, place, ahead, relief.Triangles.Length / 3);
        return true;
    }
}
