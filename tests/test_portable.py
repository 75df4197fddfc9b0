"""What would fail on Windows or macOS, as far as the source shows it: nothing here was run there."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from roam.scenes.explorer import SceneSession, load_scene_session
from roam.scenes.splits import make_scene
from roam.viewer.files.outputs import DEVICES
from roam.viewer.server.store import NameRefusedError, Store
from roam.world.action import parse_action

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("uncollected")
PACKAGES = ("world", "kernels", "scenes", "viewer", "plugins", "bench/consistency")
POSIX = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}
POSIX_CALLS = {"os.fork", "os.killpg", "os.getuid", "os.geteuid", "os.setsid", "os.mkfifo", "os.sched_getaffinity"}
POSIX_SIGNALS = {"signal.SIGHUP", "signal.SIGKILL", "signal.SIGUSR1", "signal.SIGALRM"}
NAMES = {name.split(".")[1] for name in POSIX_CALLS | POSIX_SIGNALS}


@cache
def trees() -> dict[str, ast.Module]:
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@cache
def found() -> list[tuple[str, ast.AST]]:
    kinds = (ast.Call, ast.Attribute, ast.Import, ast.ImportFrom, ast.Try, ast.TryStar)
    walked = ((name, node) for name, tree in trees().items() for node in ast.walk(tree))
    return [(f"{name}:{node.lineno}", node) for name, node in walked if isinstance(node, kinds)]


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    return ((where, node) for where, node in found() if isinstance(node, kinds))


def around(sought: ast.AST, where: str) -> str:
    """The text around a node that says when it runs: the innermost statement or try that holds it."""
    outer: ast.AST = sought
    for node in ast.walk(trees()[where.split(":")[0]]):  # from the outside in
        is_inner = isinstance(node, ast.Try | ast.Assign | ast.Return | ast.Expr)
        if is_inner and any(part is sought for part in ast.walk(node)):
            outer = node
    return ast.unparse(outer)


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    for where, node in nodes(ast.Call):
        if getattr(node.func, "attr", getattr(node.func, "id", "")) == name:
            yield where, node


def keywords(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def test_every_text_is_read_and_written_as_utf_8():
    # the default encoding would be cp1252 on Windows, which cannot even write "2 × 3 m"
    named = [call for name in ("read_text", "write_text") for call in calls(name)]
    opened = [(where, call) for where, call in calls("open") if ast.unparse(call.func) == "open"]
    texts = [(where, call) for where, call in opened if "b'" not in ast.unparse(call)]
    assert named and texts
    told = [(where, call) for where, call in (*named, *texts) if ast.unparse(call.func) != "read_text"]
    assert not [where for where, call in told if "encoding" not in keywords(call)]


def test_nothing_is_renamed_onto_what_may_be_there():
    # Windows refuses to rename over a file; replace works everywhere. The store renames a folder, and removes the old
    # one first
    assert {where.split(":")[0] for where, call in calls("rename") if len(call.args) == 1} == {"viewer/server/store.py"}


def test_what_only_posix_has_is_used_only_where_it_is():
    for where, node in nodes(ast.Import, ast.ImportFrom):
        names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        assert not POSIX & set(names) or "except ImportError" in around(node, where), where
    for where, node in nodes(ast.Attribute):
        if node.attr in NAMES and ast.unparse(node) in POSIX_CALLS | POSIX_SIGNALS:
            assert "hasattr" in around(node, where), f"{where}: {ast.unparse(node)}"


def test_processes_are_spawned_where_there_is_no_fork():
    for where, call in calls("get_context"):
        assert "spawn" in ast.unparse(call), where
    assert not [
        where
        for name in ("Process", "Pool")
        for where, call in calls(name)
        if "multiprocessing" in ast.unparse(call.func).split(".")[0]
    ]


def test_sockets_wait_in_a_loop_that_windows_has_too():
    # the default loop there cannot wait for a descriptor, as ZeroMQ's is
    runs = [
        where
        for name in ("run", "new_event_loop")
        for where, call in calls(name)
        if "asyncio" in ast.unparse(call.func)
    ]
    assert not runs
    assert all("SelectorEventLoop" in ast.unparse(call) for _, call in calls("Runner"))


# modules and names that are gone from Python 3.12, 3.13 or 3.14, by their "What's New"
GONE_MODULES = {
    *("aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp"),
    *("lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "pkg_resources", "smtpd", "sndhdr"),
    *("spwd", "sunau", "telnetlib", "typing.io", "typing.re", "uu", "xdrlib"),
}
GONE_NAMES = {
    *("ast.Bytes", "ast.Ellipsis", "ast.NameConstant", "ast.Num", "ast.Str"),
    *("asyncio.AbstractChildWatcher", "asyncio.SafeChildWatcher", "asyncio.ThreadedChildWatcher"),
    *("asyncio.coroutine", "asyncio.get_event_loop", "asyncio.get_event_loop_policy", "asyncio.set_event_loop_policy"),
    *("configparser.SafeConfigParser", "datetime.utcfromtimestamp", "datetime.utcnow", "importlib.abc.Traversable"),
    *("importlib.find_loader", "inspect.getargspec", "locale.resetlocale", "logging.warn", "pkgutil.find_loader"),
    *("pkgutil.get_loader", "pkgutil.ImpImporter", "pty.master_open", "pty.slave_open", "re.template"),
    *("sqlite3.version", "ssl.match_hostname", "ssl.wrap_socket", "tempfile.mktemp", "unittest.makeSuite"),
    *("urllib.request.FancyURLopener", "urllib.request.URLopener", "webbrowser.MacOSX", "zipimport.find_module"),
}


def test_nothing_is_used_that_newer_pythons_have_removed():
    for where, node in nodes(ast.Import, ast.ImportFrom):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        names = {f"{node.module}.{a.name}" for a in node.names} if isinstance(node, ast.ImportFrom) else set()
        assert not {module.split(".")[0] for module in modules} & GONE_MODULES and not names & GONE_NAMES, where
    last = {name.rpartition(".")[2] for name in GONE_NAMES}
    for where, node in nodes(ast.Attribute):
        assert node.attr not in last or ast.unparse(node) not in GONE_NAMES, f"{where}: {ast.unparse(node)}"


def test_every_file_compiles_without_a_warning():
    # an unknown escape, `is` with a number, a return in `finally`: some Python version will refuse them
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for package in (*PACKAGES, "bench", "examples", "tests"):
            for path in (ROOT / package).rglob("*.py"):
                compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)


def test_nothing_returns_out_of_finally():
    # Python 3.14 warns of it; it swallows any exception that was raised
    for where, node in nodes(ast.Try, ast.TryStar):
        last = ast.Module(node.finalbody, [])
        assert not any(isinstance(part, ast.Return) for part in ast.walk(last)), where


@pytest.fixture
def walk():
    walk = SceneSession(make_scene("test", 6))
    walk.step(parse_action("move forward"))
    return walk


@pytest.mark.parametrize("name", ["con", "NUL", "Aux.old", "com1", "lpt9.roam", "walk."])
def test_names_that_some_system_takes_for_a_device_are_no_saves(walk, tmp_path, name):
    store = Store(tmp_path)
    with pytest.raises(NameRefusedError, match="another name"):
        store.save("owner", name, walk)
    store.save("owner", f"a{name.strip('.')}", walk)
    store.close()
    assert len(DEVICES) == 24


def test_a_save_is_replaced_where_nothing_can_be_renamed_onto_it(walk, tmp_path, monkeypatch):
    def rename(source, target, **_):
        if os.path.exists(target):
            raise FileExistsError(f"as Windows says of {target}")
        os.replace(source, target)

    monkeypatch.setattr(os, "rename", rename)
    store = Store(tmp_path)
    for _ in range(2):
        walk.save(tmp_path / "walk.roam")
        store.save("owner", "here", walk)
        walk.step(parse_action("turn left"))
    store.close()
    assert load_scene_session(tmp_path / "walk.roam").frame.index == 2
    assert load_scene_session(store.find_save(["owner"], "here")).frame.index == 2


def test_durations_are_measured_by_a_clock_that_nobody_sets():
    """The time of day jumps when a machine is put right: it says how old files are, which have no other, and nothing
    else."""
    told = [where for where, node in nodes(ast.Call) if ast.unparse(node.func) == "time.time"]
    assert told
    for file, line in (where.split(":") for where in told):
        assert "st_mtime" in (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1], f"{file}:{line}"
    froms = [(where, node) for where, node in nodes(ast.ImportFrom) if node.module == "time"]
    assert not [where for where, node in froms if {"time", "time_ns"} & {alias.name for alias in node.names}]


def test_names_of_files_are_not_read_as_colours():
    """Rich reads [/x] as the end of a colour and raises, prints a folder [bold] as nothing, and :cat: as a cat."""
    made = [(where, ast.unparse(node)) for where, node in nodes(ast.Call) if ast.unparse(node.func) == "Console"]
    assert len(made) > 5
    colourful = ("viewer/commands/doctor", "viewer/commands/cluster")  # which escape what they print
    for where, call in made:
        if where.startswith("viewer/") and "stderr" not in call and not where.startswith(colourful):
            assert "markup=False" in call and "emoji=False" in call, where
