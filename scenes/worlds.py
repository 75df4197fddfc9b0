"""Other people's worlds by name, as places to walk through, and how a save or a recording refers to a place.

A place has `spawn_pose`, `walked(pose, motion)`, `is_free(x, y)` and `view(pose, camera)`: our own scenes (render.py
draws those), and levels of Doom. What a kind of world needs is imported when one is opened.
"""

from __future__ import annotations

from .place import Place
from .scene import Scene, SceneError
from .splits import FAMILIES

DOOM, GYM = "doom:", "gym:"


def open_place(name: str) -> Place:
    """The place of a name: "doom:E1M1", "doom:FILE.wad:MAP01". Raises SceneError for one that cannot be opened."""
    if not name.lower().startswith(DOOM):
        raise SceneError(f"unknown world '{name}'; say for instance doom:E1M1, doom:FILE.wad:MAP01 or gym:ID")
    from .doom.level import open_level

    return open_level(name)


def following(name: str) -> str:
    """The name of the following world: for a level, the next of its file; environments have seeds instead."""
    if not name.lower().startswith(DOOM):
        return name
    from .doom.level import following as following_level

    return following_level(name)


def told(place: Scene | Place) -> dict:
    """What a file stores of a place, for `place_of` to open it again."""
    if isinstance(place, Scene):
        return {"family": place.family, "seed": place.seed}
    return {"world": place.name, "digest": place.digest}


def place_of(held: dict) -> Scene | Place:
    """The place that `told` described. Raises SceneError if it has changed since, KeyError for another description."""
    if "world" not in held:
        return FAMILIES[held["family"]](int(held["seed"]))
    place = open_place(str(held["world"]))
    if place.digest != held["digest"]:
        raise SceneError(f"{held['world']} is another level than the one that was walked: its file has changed")
    return place
