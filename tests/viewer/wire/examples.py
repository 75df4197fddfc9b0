"""One message of every type, no field at its default: the golden bytes in docs/protocol.md are theirs."""

from roam.viewer.wire import protocol as p

VIEW = dict(encoding="jpeg", quality=80, depth="f32", tokens=True, credits=2)

EXAMPLES = (
    p.Hello(versions=(2, 1), client="walker"),
    p.Open(seq=1, model="scene", world="rooms", seed=7, text="a room", width=128, height=96, **VIEW),
    p.Load(seq=2, name="by-the-door", token="00112233445566778899aabbccddeeff", **VIEW),
    p.Resume(seq=3, token="00112233445566778899aabbccddeeff", **VIEW),
    p.Watch(seq=4, session="0123456789abcdef", **VIEW),
    p.Act(
        seq=5, session="0123456789abcdef", mode="once", text="move forward", motion=(0.3, 0.0, -15.0, 0.0), clock=12.5
    ),
    p.Credit(session="0123456789abcdef", frames=3),
    p.Look(
        seq=11, session="0123456789abcdef", pose=(1.0, 2.0, 1.5, 0.5, -0.5, 0.5, -0.5), ipd_m=0.0625, fov_deg=90.0,
        width=256, height=240, encoding="jpeg", quality=80, depth="u16mm", mask=True,
    ),
    p.Surfaces(
        seq=12, session="0123456789abcdef", known=(1234567890123456789,), kind="points", axes="y-up", stride=2,
        most=4096,
    ),
    p.Fork(seq=6, session="0123456789abcdef", **VIEW),
    p.Rewind(seq=7, session="0123456789abcdef", frames=30),
    p.Save(seq=8, session="0123456789abcdef", name="by-the-door"),
    p.Close(seq=9, session="0123456789abcdef"),
    p.Ping(clock=13.25),
    p.Stats(seq=10),
    p.Welcome(
        version=1, server="roam", models=("scene",), worlds=("rooms", "outdoors"), max_credits=16, max_image=8388608,
        patience_s=10.0, snapshot_frames=30, fov_deg=80.0,
    ),
    p.Opened(seq=1, session="0123456789abcdef", token="00112233445566778899aabbccddeeff", index=4, last=5),
    p.Receipt(session="0123456789abcdef", seq=5, status="refused", frame=41, reason="unknown verb 'jmp'"),
    p.FrameHead(
        session="0123456789abcdef", index=41, action="move forward", seq=5, clock=12.5, skipped=2, width=2, height=1,
        encoding="raw", pixel_bytes=6, depth="f32", depth_bytes=8, grid=(1, 1), token_bytes=4,
        pose=(1.0, 2.0, 1.5, 1.0, 0.0, 0.0, 0.0), digest="0011223344556677", queue_ms=0.5, step_ms=7.25, warp_ms=1.0,
        denoise_ms=4.0, decode_ms=2.0, commit_ms=0.25, encode_ms=0.125,
    ),
    p.SightHead(
        seq=11, session="0123456789abcdef", index=41, eyes=2, width=2, height=1, encoding="raw", pixel_bytes=12,
        depth="u16mm", depth_bytes=8, mask_bytes=1, unknown=0.25, pose=(1.0, 2.0, 1.5, 0.5, -0.5, 0.5, -0.5),
        ipd_m=0.0625, fov_deg=90.0, look_ms=3.5, encode_ms=0.125,
    ),
    p.PiecesHead(
        seq=12, session="0123456789abcdef", index=41, axes="y-up", numbers=(42,), points=(3,), triangles=(1,),
        gone=(1234567890123456789,), left=5,
    ),
    p.Done(seq=7, session="0123456789abcdef", index=11),
    p.Pong(clock=13.25),
    p.Statistics(
        seq=10, uptime_s=60.0, clients=2, sessions=1, parked=3, steps=1000, frames_sent=1001, frames_skipped=5,
        errors=4, step_p50_ms=7.5, step_p95_ms=9.75,
    ),
    p.Error(seq=9, code="not_yours", message="you do not drive it", session="0123456789abcdef"),
    p.Goodbye(reason="the server closes"),
)  # fmt: skip
