"""Imports point down the layers of the design: every import statement is checked against the arrows."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("uncollected")
PACKAGES = ("world", "kernels", "scenes", "viewer", "bench")
WORDS = {"world.words.grammar", "world.words.amounts", "world.words.clauses", "world.words.doubts", "world.words.order"}
FLOOR = {"world.pose", "world.action", "world.frame", "world.records", "world.options"} | WORDS
FLOOR |= {"world.sight", "world.spatial.pieces", "world.side_by_side.processes", "world.files"}
COMPILED = "world.compiled"  # importable from everywhere: whatever is compiled for the CPU is compiled through it
AXES = "world.axes"  # importable from everywhere too: a camera's axes and its picture, for compiled code
PICTURES = "world.pictures"  # importable by every viewer: files that become pictures are read there, with Pillow
# in this order: a file may import its own row and the rows before it
WORLD_ROWS = (
    {"pose", "words", "action", "frame", "sight", "records", "options", "compiled", "axes", "side_by_side", "files"},
    {"pictures"},
    {"config", "tokens.vocabulary", "spatial"},
    {"tokens.text", "tokens.vision", "emu.text", "emu.ibq"},
    {"tokens", "transformer.attention", "transformer.looped"},
    {"emu.sampling", "emu.sequence", "emu.prompts", "emu.memory_plan", "emu.learning_plan"},
    {
        "transformer.joined",
        "transformer.model",
        "transformer.tensor_parallel",
        "transformer.sharded",
        "transformer.offload",
    },
    {"transformer.pages", "transformer.cache"},
    {"emu.token_stream", "transformer.dida", "transformer.autoregressive", "transformer.followers"},
    {"transformer.passes"},
    {"dreamer", "frame_codec"},
    {"checkpoint"},
    {"emu.checkpoint", "emu.weights", "emu.settings", "emu.answer"},
    {"session"},
    {"stepping"},
    {"saves.forms", "saves.changes"},
    {"saves"},
    {"engine", "emu.passage", "emu.engine"},
    {"opening"},
    {"training"},
    {"adaptation"},
)
# the files of a viewer where the layers meet; all others may import the floor (world/frame.py and the like) and each
# other
MEETING = {"viewer.cli", "viewer.command_line", "viewer.commands", "viewer.opening"}
TO_VIEWERS = FLOOR | {PICTURES, "viewer"}
COMMANDS = {"bench.consistency.commands"}  # Typer applications, which import their work when a command runs
TAUGHT = {"world.training", "world.adaptation"}
MOST_LINES, MEDIAN_LINES, MEDIAN_FUNCTION, MOST_FILES = 450, 120, 8, 16
# tables of numbers that the formatter would write one number a line; it formats all the rest
TABLES = {
    "scenes/doom/things.py": {"MONSTERS", "SOLID"},
    "world/words/grammar.py": {"OTHER_UNITS", "ONES", "TENS"},
    "tests/world/emu/test_ibq.py": {"SHAPES"},
    "tests/world/emu/test_text.py": {"TABLE"},
}
# folders of tests that mirror no folder of code: whole scripts of users, what installs engines, and the tests of
# the server's looks.py and of its page in web/
OWN_FOLDERS = {"cases", "cases/lib", "engines", "viewer/server/looking", "viewer/server/page"}
UNFORMATTED = re.compile(r"# fmt: (skip|off)")
PRIVATE = re.compile(r"_(?!_|fields$|replace$|asdict$)")
HEAVY = {"torch", "triton", "open3d", "transformers"}


@dataclass(frozen=True)
class Import:
    """One import: the dotted name without `roam.` for ours, as written for others; is_lazy: inside a function."""

    file: Path
    line: int
    target: str
    is_ours: bool
    is_lazy: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.target}"


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[Import]:
    for node, is_lazy in statements(tree(path), False):
        for target, is_ours in targets(node, path):
            yield Import(path, node.lineno, target, is_ours, is_lazy)


def statements(node: ast.AST, is_lazy: bool) -> Iterator[tuple[ast.stmt, bool]]:
    """Every statement in a node, and whether it runs later than the import of its file, or never."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child, is_lazy
        if not isinstance(child, ast.expr):  # which holds no statement
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or is_typing(child)
            yield from statements(child, is_lazy or later)


def is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def targets(node: ast.AST, path: Path) -> list[tuple[str, bool]]:
    if isinstance(node, ast.Import):
        return [(alias.name, False) for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if not node.level:
        return [(node.module or "", False)]
    here = path.relative_to(ROOT).parts[: -node.level]
    base = ".".join((*here, *filter(None, [node.module])))
    names = [f"{base}.{alias.name}".strip(".") for alias in node.names]
    return [(name if (ROOT / name.replace(".", "/")).with_suffix(".py").exists() else base, True) for name in names]


def all_imports(*packages: str) -> list[Import]:
    return [found for package in packages for path in files(package) for found in imports(path)]


def top(found: Import) -> str:
    return found.target.split(".")[0]


def wrong(found: list[Import]) -> str:
    return "\n".join(map(str, found))


def is_allowed(target: str, allowed: set[str]) -> bool:
    return any(target == name or target.startswith(name + ".") for name in allowed)


def test_imports_of_our_own_are_relative():
    bad = [i for i in all_imports(*PACKAGES) if not i.is_ours and top(i) in (*PACKAGES, "roam")]
    assert not bad, wrong(bad)


def test_no_package_is_imported_under_a_name_that_a_published_package_has():
    bad = [i for i in all_imports("tests", "plugins") if not i.is_ours and top(i) in ("kernels", "world")]
    assert not bad, wrong(bad)


def test_the_floor_knows_numpy_and_the_standard_library_only():
    found = [i for name in FLOOR for i in imports(ROOT / (name.replace(".", "/") + ".py"))]
    bad = [i for i in found if (i.target not in FLOOR if i.is_ours else not standard(i, {"numpy"}))]
    assert not bad, wrong(bad)


def standard(found: Import, others: set[str]) -> bool:
    return top(found) in sys.stdlib_module_names or top(found) in others


def test_kernels_know_torch_and_triton_and_each_other():
    bad = [
        i
        for i in all_imports("kernels")
        if (
            top(i) != "kernels" and i.target != COMPILED if i.is_ours else not standard(i, {"torch", "triton", "numpy"})
        )
    ]
    assert not bad, wrong(bad)


def test_what_is_compiled_for_the_cpu_goes_through_one_file():
    bad = [i for i in all_imports(*PACKAGES) if top(i) == "numba" and not i.is_ours and module(i.file) != COMPILED]
    assert not bad, wrong(bad)


def test_scenes_know_the_floor_and_no_model():
    known = FLOOR | {"scenes", COMPILED, AXES}
    bad = [
        i
        for i in all_imports("scenes")
        if (not is_allowed(i.target, known) if i.is_ours else top(i) in HEAVY | {"pygame", "zmq"})
    ]
    assert not bad, wrong(bad)


def test_viewers_know_the_floor_and_meet_the_rest_in_the_files_named_for_it():
    bad = [
        i
        for i in all_imports("viewer")
        if i.is_ours and not is_allowed(module(i.file), MEETING) and not is_allowed(i.target, TO_VIEWERS)
    ]
    assert not bad, wrong(bad)


def test_viewers_import_no_torch_at_module_level():
    bad = [i for i in all_imports("viewer") if not i.is_lazy and not i.is_ours and top(i) in HEAVY]
    # these files are imported when a command runs, because they bring torch or numba with them
    bad += [
        i
        for i in all_imports("viewer")
        if not i.is_lazy and i.is_ours and not is_allowed(i.target, TO_VIEWERS | COMMANDS)
    ]
    assert not bad, wrong(bad)


def test_the_engine_knows_neither_scenes_nor_viewers():
    found = [i for i in all_imports("world") if not is_allowed(module(i.file), TAUGHT)]
    bad = [i for i in found if i.is_ours and (top(i) not in ("world", "kernels") or is_allowed(i.target, TAUGHT))]
    bad += [i for i in found if not i.is_ours and top(i) in ("pygame", "zmq", "open3d")]
    assert not bad, wrong(bad)


def test_training_knows_the_engine_and_the_recorded_files_of_scenes():
    allowed = {"world", "kernels", "scenes.recorder", "scenes.splits"}
    bad = [i for i in all_imports("world/training", "world/adaptation") if i.is_ours]
    bad = [i for i in bad if not is_allowed(i.target, allowed)]
    assert not bad, wrong(bad)


def row(name: str) -> int:
    """The number of the most specific entry of WORLD_ROWS that holds a module of the world."""
    parts = name.split(".")[1:]
    for length in range(len(parts), 0, -1):
        for number, names in enumerate(WORLD_ROWS):
            if ".".join(parts[:length]) in names:
                return number
    raise AssertionError(f"{name} stands in no row of the tree: add it to WORLD_ROWS")


def test_files_of_the_engine_import_leftward_in_the_order_of_the_tree():
    found = [i for i in all_imports("world") if i.is_ours and not i.is_lazy and top(i) == "world"]
    bad = [i for i in found if row(i.target) > row(module(i.file))]
    assert not bad, wrong(bad)


def test_no_files_import_each_other_in_a_circle_not_even_late_or_for_types():
    known = {module(path): path for package in PACKAGES for path in files(package)}
    open_names: list[str] = []
    done: set[str] = set()

    def visit(name: str) -> None:
        assert name not in open_names, " -> ".join([*open_names[open_names.index(name) :], name])
        if name in done or name not in known:
            return
        open_names.append(name)
        for found in imports(known[name]):
            if found.is_ours:
                visit(found.target)
        done.add(open_names.pop())

    for name in known:
        visit(name)


def tracked() -> list[Path]:
    """Every Python file of ours: of the packages, tests, plugins and examples, and those at the top."""
    folders = (*PACKAGES, "tests", "plugins", "examples")
    return [*ROOT.glob("*.py"), *(path for folder in folders for path in files(folder))]


def test_files_and_functions_are_short_and_folders_small():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in tracked()}
    long = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > MOST_LINES}
    assert not long, f"over {MOST_LINES} lines: {long}"
    lengths = [node.end_lineno - node.lineno + 1 for path in lines for node in functions(path)]
    in_folders = Counter(path.parent for path in lines if path.name != "__init__.py")
    figures = statistics.median(lines.values()), statistics.median(lengths), max(in_folders.values())
    print("median lines of a file, of a function; files in the largest folder:", *figures)  # pytest -s shows it
    assert figures[0] <= MEDIAN_LINES and figures[1] <= MEDIAN_FUNCTION, figures


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    found = (node for node, _ in statements(tree(path), False))
    return [node for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_folder_of_code_is_a_package_of_at_most_sixteen_files():
    for folder in {path.parent for package in PACKAGES for path in files(package)}:
        assert (folder / "__init__.py").exists(), f"{folder} has no __init__.py, so an installed copy would lack it"
    for folder, count in Counter(path.parent for path in tracked() if path.name != "__init__.py").items():
        assert count <= MOST_FILES, f"{folder} holds {count} files: sort them into folders"


def test_the_folders_of_tests_are_those_of_the_code():
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in files("tests")} - {"."}
    assert not (extra := {name for name in folders if not (ROOT / name).is_dir()} - OWN_FOLDERS), sorted(extra)


def test_nothing_but_tables_of_numbers_is_kept_from_the_formatter():
    for path in tracked():
        text = path.read_text(encoding="utf-8")
        lines = [
            n for n, line in enumerate(text.splitlines(), 1) if UNFORMATTED.search(line) and "re.compile" not in line
        ]
        if not lines:
            continue
        ends = {node.end_lineno: node for node in tree(path).body if isinstance(node, ast.Assign)}
        found = {ast.unparse(ends[n].targets[0]) if n in ends else f"line {n}" for n in lines}
        wrong = found - TABLES.get(path.relative_to(ROOT).as_posix(), set())
        assert not wrong, f"{path} keeps {sorted(wrong)} from the formatter: only tables named in TABLES may be"


def test_tests_reach_into_no_private_state():
    found = [f"{path.relative_to(ROOT)}:{line} {name}" for path in files("tests") for line, name in private_names(path)]
    assert not found, "build the scene by public ways, or make the thing public:\n" + "\n".join(found)


def private_names(path: Path) -> Iterator[tuple[int, str]]:
    """The names with one leading underscore that a file takes from others: attributes, imports, and names that it
    patches."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            is_own = not PRIVATE.match(node.attr) or ast.unparse(node.value) in ("self", "cls", "os")
            names = [] if is_own else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            names = [part for a in node.args if isinstance(a, ast.Constant) for part in str(a.value).split(".")]
        else:
            continue
        yield from ((node.lineno, name) for name in names if PRIVATE.match(name))


def test_importing_a_viewer_prints_nothing_and_brings_no_torch():
    names = ("cli", "commands.play", "commands.doctor", "window.window", "play.player", "play.video", "opening.start")
    viewers = ", ".join(f"roam.viewer.{name}" for name in names)
    code = f"import sys, {viewers}; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
