"""What an episode should look like: true views at any pose, and what the shown frames have revealed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TypeVar, cast

import numpy as np

from ....scenes.place import Place, TrueView
from ....scenes.scene import Scene
from ....world.pose import Camera, Pose
from .episode import Episode
from .places import find_start, things, without
from .visibility import reveal
from .worlds import place_of, see, stranger_of

# views that are kept of an episode: the longest walk's, so that all models are compared with views rendered once
KEPT_VIEWS = 1100
T = TypeVar("T")
NUM_STRANGERS = 7


class Truth:
    """The scene of an episode, rendered when needed. What depends on the truth alone is computed once for all
    models."""

    def __init__(self, episode: Episode, *, camera: Camera | None = None):
        self.episode, self.camera = episode, camera or Camera()
        self.full_scene = place_of(episode.world, episode.split, episode.number)
        self.scene = self._bare_scene() if episode.is_absent else self.full_scene
        self.things = np.array(things(self.scene))
        self._views: OrderedDict[Pose, TrueView] = OrderedDict()
        self._shown: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._known: dict[Hashable, object] = {}
        self._commanded = frozenset(episode.poses)

    def at(self, pose: Pose) -> TrueView:
        """The true view from a pose; the last few are kept."""
        if pose not in self._views:
            self._views[pose] = see(self.scene, pose, self.camera)
            if len(self._views) > KEPT_VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(pose)
        return self._views[pose]

    def frame(self, index: int) -> TrueView:
        """The true view at the commanded pose of a frame."""
        return self.at(self.episode.poses[index])

    def shown(self) -> list[np.ndarray]:
        """The true frames that a model is given, (H, W, 3) uint8 each."""
        return [self.frame(index).pixels for index in range(self.episode.num_context)]

    def once(self, name: Hashable, pose: Pose, make: Callable[[], T]) -> T:
        """The result of `make`, which depends on the truth at `pose` alone. Stored for commanded poses: those come
        again with every model, recovered ones do not."""
        if pose not in self._commanded:
            return make()
        if (name, pose) not in self._known:
            self._known[name, pose] = make()
        # a value that is stored under a name has the type that the name's function returns
        return cast(T, self._known[name, pose])

    def seen(self, pose: Pose) -> np.ndarray:
        """(H, W) bool: which pixels of the view from `pose` show a surface that a shown frame showed."""
        return self.once("seen", pose, lambda: reveal(self.at(pose).depth, pose, *self._shown_depth(), self.camera))

    def with_and_without(self, pose: Pose) -> tuple[TrueView, TrueView]:
        """The view with the target and the view without it, whichever of the two is true."""
        full, bare = self.full_scene, self._bare_scene()
        return self.once("pair", pose, lambda: (see(full, pose, self.camera), see(bare, pose, self.camera)))

    def _bare_scene(self) -> Scene:
        assert self.episode.target is not None, "asked of episodes with a target"
        assert isinstance(self.full_scene, Scene), "a thing is carried away in our own scenes alone"
        return without(self.full_scene, self.episode.target)

    def strangers(self) -> tuple[TrueView, ...]:
        """Views of NUM_STRANGERS other scenes of the family: what a plausible but wrong world looks like."""
        asked = self.episode
        return _views_of_strangers(asked.world, asked.split, asked.number, self.scene.family, self.camera)

    def stranger(self, k: int = 0) -> Scene | Place:
        """Another place of the family, the k-th."""
        return _stranger(self.episode.world, self.episode.split, self.episode.number, self.scene.family, k)

    def _shown_depth(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self._shown is None:
            # a glance about passes the same poses often; each counts once
            rounded = {
                (*np.round(p.position, 3), *np.round(p.wxyz, 4)): p
                for p in self.episode.poses[: self.episode.num_context]
            }
            poses = list(rounded.values())
            self._shown = (
                np.stack([self.at(pose).depth for pose in poses]),
                np.stack([pose.rotation for pose in poses]),
                np.array([pose.position for pose in poses]),
            )
        return self._shown


def _stranger(world: str, split: str, number: int, family: str, k: int) -> Scene | Place:
    return place_of(world, split, stranger_of(world, split, number, k), family)


@lru_cache(maxsize=16)
def _views_of_strangers(world: str, split: str, number: int, family: str, camera: Camera) -> tuple[TrueView, ...]:
    """Rendered once for all episodes of a scene, which a run asks one after the other."""
    scenes = [_stranger(world, split, number, family, k) for k in range(NUM_STRANGERS)]
    poses = [find_start(scene, np.random.default_rng(k), lambda pose: True) for k, scene in enumerate(scenes)]
    return tuple(see(scene, pose or scene.spawn_pose, camera) for scene, pose in zip(scenes, poses, strict=True))
