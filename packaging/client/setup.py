"""The distribution `roam-client`: of this tree the files that a client needs, under the same name, `roam`.

pip install ./packaging/client    from the root of the checkout, for programs that walk on a server. Whoever installs
roam-worlds has these files already and needs no more.
"""

import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "world",
    "world.words",
    "world.spatial",
    "world.pictures",
    "viewer",
    "viewer.client",
    "viewer.files",
    "viewer.play",
    "viewer.wire",
    "viewer.xr",
)
MODULES = (
    "world.pose",
    "world.action",
    "world.words.amounts",
    "world.words.clauses",
    "world.words.doubts",
    "world.words.grammar",
    "world.words.order",
    "world.files",
    "world.frame",
    "world.sight",
    "world.records",
    "world.spatial.pieces",
    "world.pictures.reading",
    "viewer.client.client",
    "viewer.client.connection",
    "viewer.client.knock",
    "viewer.client.looks",
    "viewer.client.records",
    "viewer.client.remote_session",
    "viewer.client.walk_state",
    "viewer.files.models",
    "viewer.files.panorama",
    "viewer.files.pictures",
    "viewer.play.keymap",
    "viewer.wire.encoding",
    "viewer.wire.fields",
    "viewer.wire.from_clusters",
    "viewer.wire.header",
    "viewer.wire.looking",
    "viewer.wire.message",
    "viewer.wire.protocol",
    "viewer.wire.security",
    "viewer.xr.body",
    "viewer.xr.headset",
    "viewer.xr.wear",
)

setup(
    version=tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
    package_dir={"roam": "../.."},
    py_modules=[f"roam.{name}" for name in (*(f"{package}.__init__" for package in PACKAGES), *MODULES)],
)
