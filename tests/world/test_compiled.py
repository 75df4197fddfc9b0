"""Compiled code finds a folder on every machine: beside the sources, in the home folder, or among temporary files."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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


TWICE = "from roam.world.compiled import njit\n@njit(cache=True)\ndef twice(x):\n    return 2 * x\n"


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Imports a module of tmp_path as a process that has just started does; kept: where its compiled code is."""
    kept = tmp_path / "kept"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(kept))
    monkeypatch.setattr(compiled, "cache_folder", compiled.choose_folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = dict(sys.modules)

    def anew(name: str) -> ModuleType:
        forget()
        return importlib.import_module(name)

    def forget() -> None:
        for name in sys.modules.keys() - modules.keys():
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        importlib.invalidate_caches()
        compiled.digest_of_sources.cache_clear()

    anew.kept = kept
    yield anew
    forget()


def test_what_is_compiled_is_found_again(imported, tmp_path):
    (tmp_path / "twice.py").write_text(TWICE)
    functions = []
    for _ in range(2):
        functions.append(imported("twice").twice)
        assert functions[-1](21) == 42
        assert len([path for path in imported.kept.rglob("*") if path.is_file()]) == 2
    first, again = (function.stats for function in functions)
    assert first.cache_misses and not first.cache_hits
    assert again.cache_hits and not again.cache_misses


def test_code_is_compiled_anew_when_anything_that_it_was_made_of_has_changed(imported, tmp_path):
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

    def found() -> tuple[int, bool]:
        """What the code gives, and whether it was compiled."""
        whole = imported("made.whole").whole
        return whole(10), bool(whole.stats.cache_misses)

    assert found() == (21, True)
    assert found() == (21, False)
    (package / "part.py").write_text((package / "part.py").read_text().replace("SIZE * x", "SIZE * x * x"))
    assert found() == (201, True)
    (package / "size.py").write_text("SIZE = 3\n")
    assert found() == (301, True)


CACHED = """
import sys
sys.path.insert(0, sys.argv[1])
import twice
assert twice.twice(21) == 42
"""


@pytest.fixture
def cached(tmp_path):
    """Runs a program in a process of its own that compiles a function and caches it; kept: the cached files."""
    (tmp_path / "twice.py").write_text(TWICE)
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    def run(**how) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", CACHED, str(tmp_path)], env=env, capture_output=True, text=True, **how
        )

    run.kept = lambda: [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    return run


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
