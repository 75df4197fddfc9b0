"""Compiled code finds a folder on every machine: beside the sources, in the home folder, or among temporary files."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from roam.world import compiled


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Neither the sources nor the home folder can be written, as in a container; temporary files go to tmp_path."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(compiled.os, "access", lambda folder, mode: False)
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_a_writable_folder_gets_a_temporary_one_of_their_own(nowhere):
    folder = compiled.choose_folder()
    assert folder.parent == nowhere and folder.stat().st_mode & 0o077 == 0
    assert compiled.choose_folder() == folder == Path(numba.config.CACHE_DIR)


@pytest.mark.skipif(os.name != "posix", reason="owners and modes")
def test_code_that_somebody_else_may_have_put_there_is_not_loaded(nowhere):
    folder = compiled.temporary_folder()
    folder.chmod(0o777)
    assert compiled.temporary_folder() != folder
    folder.rmdir()
    folder.symlink_to(nowhere)
    assert compiled.temporary_folder() != folder and not compiled.temporary_folder().is_symlink()


def test_without_any_folder_it_compiles_and_keeps_nothing(nowhere, monkeypatch):
    def refuse():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(compiled, "temporary_folder", refuse)
    assert compiled.choose_folder() is None
    monkeypatch.setattr(compiled, "cache_folder", lambda: None)
    assert compiled.njit(cache=True)(lambda x: x + 1)(1) == 2


CACHED = """
import sys
sys.path.insert(0, sys.argv[1])
import twice
assert twice.twice(21) == 42
"""


@pytest.fixture
def cached(tmp_path):
    """Runs a program in a process of its own that compiles a function and caches it; kept: the cached files."""
    (tmp_path / "twice.py").write_text(
        "from roam.world.compiled import njit\n@njit(cache=True)\ndef twice(x):\n    return 2 * x\n"
    )
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    def run(**how) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", CACHED, str(tmp_path)], env=env, capture_output=True, text=True, **how
        )

    run.kept = lambda: [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    return run


def test_what_is_compiled_is_found_again(cached):
    assert cached().returncode == 0
    kept = {path: path.stat().st_mtime_ns for path in cached.kept()}
    assert len(kept) == 2 and cached().returncode == 0
    assert {path: path.stat().st_mtime_ns for path in cached.kept()} == kept


def test_code_is_compiled_anew_when_anything_that_it_was_made_of_has_changed(tmp_path):
    """A function, and a constant, of other files: Numba by itself would go on with what they were."""
    package = tmp_path / "made"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "size.py").write_text("SIZE = 2\n")
    (package / "part.py").write_text(
        "from roam.world.compiled import njit\nfrom .size import SIZE\n\n"
        "@njit(cache=True)\ndef part(x):\n    return SIZE * x\n"
    )
    (package / "whole.py").write_text(
        "from roam.world.compiled import njit\nfrom .part import part\n\n"
        "@njit(cache=True)\ndef whole(x):\n    return part(x) + 1\n"
    )
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept"), "PYTHONDONTWRITEBYTECODE": "1"}
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from made.whole import whole; print(whole(10))"

    def printed() -> int:
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert printed() == 21
    (package / "part.py").write_text((package / "part.py").read_text().replace("SIZE * x", "SIZE * x * x"))
    assert printed() == 201
    (package / "size.py").write_text("SIZE = 3\n")
    assert printed() == 301


@pytest.mark.skipif(os.name != "posix", reason="limits on the size of files stand for a full disk")
def test_a_disk_too_full_for_compiled_code_does_not_keep_it_from_running(cached):
    import resource

    done = cached(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_size <= 100 for path in cached.kept())


@pytest.mark.slow(reason="processes that import and compile, one after the other")
def test_compiled_code_that_the_disk_has_damaged_is_compiled_anew(cached):
    cached()
    for path in cached.kept():
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    for said in ("compiled anew", ""):
        done = cached()
        assert done.returncode == 0 and said in done.stderr, done.stderr
    assert done.stderr == ""  # it was cached again


@pytest.mark.skipif(os.name != "posix", reason="HOME")
@pytest.mark.slow(reason="a process that imports and compiles with no home")
def test_no_folder_named_after_a_missing_home_is_made(tmp_path):
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    code = "from roam.scenes.splits import make_scene; import roam.viewer.commands.serve; "
    code += "make_scene('test', 1).is_free(0, 0)"
    for home in ({}, {"HOME": "/nonexistent"}):
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=env | home, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())


def test_what_is_computed_does_not_depend_on_which_function_was_loaded_first():
    """Every caller runs a copy of its own of what it calls, not the copy that happened to be linked first."""

    @compiled.njit(fastmath=True)
    def called(x, n):  # too long to be written into its caller
        total, scale = np.float32(0), np.float32(1)
        for i in range(n):
            total += x[i] * scale - x[(i * 7) % n] * np.float32(0.3)
            scale = scale * np.float32(0.999) + x[(i * 3) % n] * np.float32(0.01)
            if total > 100:
                total = total / np.float32(3.1)
        for i in range(n):
            total += np.sqrt(abs(x[i] * total)) + np.sin(x[i]) * scale
        return total / scale

    @compiled.njit(fastmath=True)
    def caller(x):
        return called(x, 48) + called(x, 64)

    caller(np.ones(64, np.float32))
    (code,) = caller.inspect_llvm().values()
    assert "define" in code and "define linkonce_odr" not in code  # which the linker takes from anywhere
