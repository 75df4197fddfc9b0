"""Opens the true world of a name, made by others, as an Explorer."""

from __future__ import annotations

from ..world.frame import Explorer
from ..world.pose import Camera
from .explorer import SceneSession
from .worlds import GYM, open_place


def open_explorer(name: str, seed: int, camera: Camera | None = None) -> Explorer:
    """The true world of a name, entered: a place walked through, or an environment reset with that seed. Raises
    SceneError for one that cannot be opened."""
    if name.startswith(GYM):
        from .env.session import open_env

        return open_env(name, seed, camera=camera)
    return SceneSession(open_place(name), camera=camera)
