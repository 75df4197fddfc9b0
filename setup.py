"""Lists every package of the repository under the name `roam`: pyproject.toml cannot say it of all that is found."""

from setuptools import find_packages, setup

FOLDERS = ("world", "kernels", "scenes", "viewer", "bench")

setup(
    packages=[f"roam.{name}" for name in find_packages(include=[p for f in FOLDERS for p in (f, f"{f}.*")])],
    package_dir={"roam": "."},
)
