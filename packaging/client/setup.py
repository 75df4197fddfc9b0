"""The distribution `roam-client`: the files of the same tree that a client needs, under the same name, `roam`.

pip install ./packaging/client        (from the root of the checkout; not beside roam-worlds, which has these files too)
"""

import os
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDERS = ("world", "world/words", "viewer", "viewer/client", "viewer/wire", "viewer/files", "viewer/opening", "viewer/play")
MODULES = (
    "world.pose", "world.action", "world.words.amounts", "world.words.clauses", "world.words.grammar", "world.frame",
    "world.sight", "world.spatial.pieces", "world.records", "viewer.files.pictures", "viewer.files.models",
    "viewer.files.panorama", "viewer.wire.protocol", "viewer.wire.fields", "viewer.wire.encoding",
    "viewer.wire.security", "viewer.client.client", "viewer.client.connection", "viewer.client.remote_session",
    "viewer.client.walk_state",
)  # fmt: skip

