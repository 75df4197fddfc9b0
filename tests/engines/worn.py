"""A walk of a server, worn on the headset of this machine's OpenXR runtime: worn.py ADDRESS PICTURES. Prints a line of
JSON: what was shown, which frame the walk stands at, and how far the runtime's copy of the last picture is off."""

from __future__ import annotations

import json
import sys

import numpy as np
from roam.viewer.client import Client, RemoteSession
from roam.viewer.xr.headset import Headset
from roam.viewer.xr.wear import Wearer


class Watched(Headset):
    """Records what it was shown, and the head's pose at that time."""

    def __init__(self):
        super().__init__(width=128)
        self.turns, self.picture = [], None

    def show(self, view, pixels):
        super().show(view, pixels)
        self.turns.append(view.pose.wxyz)
        self.picture, self.ipd_m = pixels, view.ipd_m

    @property
    def difference(self) -> float:
        """Of 255: between the last picture and the nearest of the textures that the runtime shows."""
        from OpenGL import GL

        height, width = self.picture.shape[:2]
        found = []
        for texture in self._textures:
            GL.glBindTexture(GL.GL_TEXTURE_2D, texture)
            held = GL.glGetTexImage(GL.GL_TEXTURE_2D, 0, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE)
            held = np.frombuffer(held, np.uint8).reshape(height, width, 4)[::-1, :, :3]
            found.append(float(np.abs(held.astype(int) - self.picture).mean()))
        return min(found)


def main() -> None:
    with Client(sys.argv[1], timeout_s=120) as client:
        walk, headset = RemoteSession.open(client, seed=7), Watched()
        told = Wearer(walk, headset).run(pictures=int(sys.argv[2]))
        result = vars(told) | {
            "name": headset.name,
            "frame": walk.frame.index,
            "ipd_m": headset.ipd_m,
            "heads": len(set(headset.turns)),
            "difference": headset.difference,
        }
        headset.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
