"""Walks a Roam server's worlds at random, rewarded by the metre, and prints how far it came and how fast.

roam serve --truth                                  # in another terminal
python random_agent.py --steps 300 -o walk.gif
"""

import argparse
import time

import gymnasium
from roam.viewer.play.video import VideoRecorder
from roam.world.frame import Frame


def metres(before: Frame, after: Frame) -> tuple[float, bool]:
    """A task: the reward is the distance gone, so that walking into walls earns nothing; it never ends."""
    return before.pose.distance_to(after.pose), False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("address", nargs="?", default="tcp://127.0.0.1:5555")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", help="record what was seen as .gif or .mp4")
    wanted = parser.parse_args()

    env = gymnasium.make("roam_env:Roam-v0", address=wanted.address, task=metres, render_mode="rgb_array")
    env.action_space.seed(wanted.seed)
    video = VideoRecorder(wanted.out, fps=env.metadata["render_fps"], overwrite=True) if wanted.out else None
    observation, info = env.reset(seed=wanted.seed)
    total, began = 0.0, time.perf_counter()
    for _ in range(wanted.steps):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        total += reward
        if video:
            video.add(observation["pixels"])
        if terminated or truncated:
            observation, info = env.reset()
    rate = wanted.steps / (time.perf_counter() - began)
    env.close()
    if video:
        video.close()
    print(f"{total:.1f} metres in {wanted.steps} steps, {rate:.0f} steps/s; last frame {info['digest']}")
