"""Damages viewer/, plugins/ and the page in small ways, one at a time, and counts how many of them the tests notice.

`make mutants` samples by a seed and writes docs/mutation.md. It takes an hour on a busy machine and is no part of the
suite. Each damaged file stands in a copy of the tree; against it run the few test files that have most to do with it,
until one fails: what others might notice besides is not counted. They run in a child that is forked once the heavy
libraries are imported. A test that fails without the damage as well notices nothing: it is left out, and named.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, PAGE_TESTS = Path("viewer/web/index.html"), "tests/viewer/server/test_gateway.py"
DAMAGED, BORROWED = ("viewer", "plugins", "tests"), ("world", "kernels", "scenes", "bench")
HEAVY = ("torch", "numba", "cv2", "PIL.Image", "av", "zmq", "msgpack", "hypothesis", "websockets.sync.client", "pytest")
MOST_FILES = 3  # test files that run for one mutant
LIMIT_S = 900.0  # a test that takes longer counts as hanging; the machine may be busy
OPPOSITE = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
SCRIPT = (  # for the page: the pattern, and its replacement
    (r"===", "!=="),
    (r"!==", "==="),
    (r"&&", "||"),
    (r" \|\| ", " && "),
    (r" < ", " >= "),
    (r" > ", " <= "),
    (r"\+\+seq", "seq"),
    (r"= true\b", "= false"),
    (r"= false\b", "= true"),
    (r"(?<=^  )send\(.*\);$", ";"),
    (r"(?<== )(\d+)(?=;)", "1000000"),
)


@dataclass(frozen=True)
class Mutant:
    """One mutant: the whole text of the file with it, and in words what was there and what is there now."""

    path: str
    line: int
    before: str
    after: str
    text: str

    @property
    def place(self) -> tuple[str, int, str, str]:
        return self.path, self.line, self.before, self.after

    def __str__(self) -> str:
        return f"{self.path}:{self.line} `{self.before}` became `{self.after}`"


@dataclass(frozen=True)
class Outcome:
    """noticed: the test that failed, "hang" where the tests did not end, or "" where all passed."""

    path: str
    line: int
    before: str
    after: str
    noticed: str
    seconds: float


def python_places(path: Path) -> list[tuple[Path, int]]:
    """The numbers of all nodes in a Python file that we can change."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    left_alone = {id(node) for outer in ast.walk(tree) if _is_left_alone(outer) for node in ast.walk(outer)}
    nodes = enumerate(ast.walk(tree))
    return [(path, number) for number, node in nodes if id(node) not in left_alone and _damage(node)]


def python_mutant(path: Path, number: int) -> Mutant:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    node = next(node for i, node in enumerate(ast.walk(tree)) if i == number)
    before = ast.unparse(node)
    _damage(node)(node)
    return Mutant(str(path), node.lineno, _short(before), _short(ast.unparse(node)), ast.unparse(tree) + "\n")


def page_mutants(path: Path) -> Iterator[Mutant]:
    """Every change that we can make to the page's script, line by line."""
    lines = (ROOT / path).read_text(encoding="utf-8").split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("// The walk."))
    for number, line in enumerate(lines[first:], first):
        code = line.split(" // ")[0]
        for sought, instead in SCRIPT:
            for found in re.finditer(sought, code):
                damaged = line[: found.start()] + instead + line[found.end() :]
                text = "\n".join([*lines[:number], damaged, *lines[number + 1 :]])
                yield Mutant(str(path), number + 1, _short(line.strip()), _short(damaged.strip()), text)


def _is_left_alone(node: ast.AST) -> bool:
    """Whether a node is left alone: code that no test runs on purpose, and matters of choice such as logging, type
    hints, options and named numbers."""
    if isinstance(node, ast.Expr):
        return _is_left_alone(node.value)
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).startswith(("log.", "logging.", "typer.Option", "typer.Argument"))
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    if isinstance(node, ast.AnnAssign):
        return True
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).strip("_").isupper()


def _damage(node: ast.AST) -> Callable[[ast.AST], None] | None:
    """A function that changes such a node in place, or None."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITE:
        return lambda n: n.ops.__setitem__(0, OPPOSITE[type(n.ops[0])]())
    if isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in OPPOSITE and not _is_text(node):
        return lambda n: setattr(n, "op", OPPOSITE[type(n.op)]())
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return lambda n: setattr(n, "test", ast.Constant(False))
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        return lambda n: setattr(n, "value", not n.value)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return lambda n: setattr(n, "value", n.value + 1)
    if isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
        return lambda n: setattr(n, "value", ast.Constant(None))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return lambda n: setattr(n, "value", ast.Constant(None))
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        return lambda n: setattr(n, "value", copy.deepcopy(n.targets[0]))  # set to what it was
    return None


def _is_text(node: ast.AST) -> bool:
    return any(isinstance(n, ast.Constant) and isinstance(n.value, str) for n in ast.walk(node))


def _short(code: str) -> str:
    code = " ".join(code.split())
    return code if len(code) <= 90 else f"{code[:87]}..."


def sample(seed: int, num_python: int, num_page: int, of: Sequence[str] = ("",)) -> list[Mutant]:
    """So many mutants of Python files and of the page, all equally likely. of: how the paths of the Python files
    begin."""
    files = sorted(p.relative_to(ROOT) for top in ("viewer", "plugins") for p in (ROOT / top).rglob("*.py"))
    files = [path for path in files if path.as_posix().startswith(tuple(of))]
    rng = random.Random(seed)
    known = [place for path in files for place in python_places(path)]
    places = rng.sample(known, min(num_python, len(known)))
    chosen = [python_mutant(*place) for place in places] + rng.sample(list(page_mutants(PAGE)), num_page)
    rng.shuffle(chosen)  # shuffled, so that a run that ends early has tried a fair sample too
    return chosen


def concerned(path: str, most: int = MOST_FILES) -> list[str]:
    """The test files to run for a source file: first the one that is named after it, then those that import it, then
    those of the folder that mirrors its own; among equals, those that use its names most come first."""
    tests = {p: p.read_text(encoding="utf-8") for p in _tests()}
    if path == str(PAGE):
        return [PAGE_TESTS]
    if path.startswith("plugins/"):
        return [_said(p) for p, text in tests.items() if Path(path).parent.name in text]
    near = {p for p, text in tests.items() if _imports(text, p, _module(path))}
    far = {p for p, text in tests.items() if any(_imports(text, p, user) for user in _users(_module(path)))}
    folder = ROOT / "tests" / Path(path.replace("command_line", "commands")).parent
    beside = {p for p in tests if p.is_relative_to(folder)}
    names = re.compile(rf"\b(?:{'|'.join(_names(path))})\b")
    own = {p for p in tests if p.stem == f"test_{Path(path).stem}"}
    said = {p: len(names.findall(text)) for p, text in tests.items()}
    ranked = sorted(own | near | far | beside, key=lambda p: (p not in own, p not in near, p not in beside, -said[p]))
    return [_said(p) for p in ranked[:most]] or ["tests/viewer/commands/test_play.py"]


def _users(module: str) -> set[str]:
    """The modules of viewer/ that import a module, directly or through another."""
    texts = {p: p.read_text(encoding="utf-8") for p in (ROOT / "viewer").rglob("*.py")}
    found, new = set(), {module}
    while new:
        new = {_module(_said(p)) for p, text in texts.items() if any(_imports(text, p, name) for name in new)} - found
        found |= new
    return found


def _tests() -> list[Path]:
    """All test files except those that dream, which take minutes."""
    folders = [ROOT / "tests" / name for name in ("viewer", "plugins", "world/emu")]
    found = (path for folder in folders for path in sorted(folder.rglob("test_*.py")))
    return [path for path in found if not re.search("dream|anew", path.name)]


def _said(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _names(path: str) -> list[str]:
    """The names that a module defines and tests may use."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    defined = [n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    return [name for name in defined if not name.startswith("_")] or [Path(path).stem]


def _imports(text: str, path: Path, name: str) -> bool:
    """Whether the text of the file at `path` imports the module of that dotted name, as viewer.client is one."""
    package, _, last = name.rpartition(".")
    here = _module(_said(path.parent))
    froms = [rf"roam\.{re.escape(package)}"]
    if here.startswith("viewer"):
        froms.append(_dots(here, package))
    start = "|".join(froms)
    return bool(re.search(rf"from (?:{start}) import [^\n]*\b{last}\b|from (?:{start})\.?\b{last}\b import", text))


def _dots(here: str, package: str) -> str:
    """The relative form in which a module of the package `here` writes that package, as a pattern."""
    ours, theirs = here.split("."), package.split(".")
    common = sum(a == b for a, b in zip(ours, theirs, strict=False))
    return r"\." * (1 + len(ours) - common) + r"\.".join(theirs[common:])


def copied(folder: Path) -> Path:
    """A copy of the tree that may be changed, with a package `roam` beside it that points into the copy."""
    root = folder / "root"
    for part in ROOT.iterdir():
        if part.name in DAMAGED:
            shutil.copytree(part, root / part.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif not part.name.startswith(".") and part.name not in ("runs", "roam-out"):
            root.mkdir(exist_ok=True)
            (root / part.name).symlink_to(part)
    (folder / "path" / "roam").mkdir(parents=True)
    for name in ("viewer", *BORROWED):
        (folder / "path" / "roam" / name).symlink_to(root / name)
    return root


def failing(root: Path, tests: list[str], *, but: Sequence[str] = ()) -> str:
    """Run tests in a child process until one fails: its name, "" where all pass, "hang" where one does not end. but:
    tests to leave out."""
    log = root.parent / "log"
    child = os.fork()
    if not child:
        os.setsid()
        _run_tests(root, tests, log, but)  # never comes back
    status, end = None, time.monotonic() + LIMIT_S
    while status is None and time.monotonic() < end:
        done, code = os.waitpid(child, os.WNOHANG)
        status = code if done else None
        time.sleep(0.05)
    _end_group(child)
    if status is None:
        os.waitpid(child, 0)
        return "hang"
    if os.waitstatus_to_exitcode(status) in (0, 5):
        return ""
    text = log.read_text(errors="replace")
    failed = re.findall(r"^(?:FAILED|ERROR) ([^\s\[]+)", text, re.MULTILINE)
    return failed[0] if failed else f"{tests[0]} (no test can run)"


def _run_tests(root: Path, tests: list[str], log: Path, but: Sequence[str]) -> None:
    import pytest

    os.chdir(root)
    os.environ["PYTHONPATH"] = str(root.parent / "path")
    sys.path.insert(0, str(root.parent / "path"))
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-rfE", *(f"--deselect={test}" for test in but)]
    os._exit(int(pytest.main([*options, *tests])))


def _end_group(leader: int) -> None:
    """End whatever a test started and left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class Ground:
    """Which tests pass on the unchanged code; found out when one of them has failed on a mutant."""

    def __init__(self, root: Path):
        self._root, self._passes = root, {}

    @property
    def unfit(self) -> list[str]:
        return [test for test, passes in self._passes.items() if not passes]

    def noticed(self, path: Path, damaged: str, tests: list[str]) -> str:
        """The test that fails with that mutant and passes without it; "" where there is none."""
        whole = path.read_text(encoding="utf-8")
        while True:
            path.write_text(damaged, encoding="utf-8")
            try:
                test = failing(self._root, tests, but=self.unfit)
            finally:
                path.write_text(whole, encoding="utf-8")
            if test not in self._passes and "::" in test:
                self._passes[test] = not failing(self._root, [test])
            if self._passes.get(test, True):
                return test


def try_out(mutant: Mutant, root: Path, ground: Ground, most: int) -> Outcome:
    began = time.monotonic()
    noticed = ground.noticed(root / mutant.path, mutant.text, concerned(mutant.path, most))
    seconds = round(time.monotonic() - began, 1)
    return Outcome(mutant.path, mutant.line, mutant.before, mutant.after, noticed, seconds)


def report(outcomes: list[Outcome], seed: int, unfit: list[str], whys: dict[str, str]) -> str:
    """The page in docs/: what was sampled, what the tests noticed, and what they did not."""
    outcomes = sorted(outcomes, key=lambda outcome: (outcome.path, outcome.line))
    killed = [outcome for outcome in outcomes if outcome.noticed]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    lines = [
        "# Damages that the tests notice",
        "",
        f"`make mutants SEED={seed}` (tests/mutation.py) at {commit.strip()}: {len(outcomes)} small damages to "
        "viewer/, plugins/ and the page, drawn by that seed, each alone in a copy of the tree; against it ran the "
        f"{MOST_FILES} test files that have most to do with it, until one failed.",
        "",
        f"**{len(killed)} of {len(outcomes)} were noticed, {len(killed) / len(outcomes):.0%}.**",
    ]
    if unfit:
        lines += ["", f"Not used, for they fail without any damage on that machine: {', '.join(unfit)}."]
    lines += ["", "## Not noticed", "", "| where | was | became | why |", "| --- | --- | --- | --- |"]
    for o in (o for o in outcomes if not o.noticed):
        lines.append(f"| {o.path}:{o.line} | {_cell(o.before)} | {_cell(o.after)} | {whys.get(_key(o), '')} |")
    lines += ["", "## Noticed", "", "| where | was | became | by |", "| --- | --- | --- | --- |"]
    for o in killed:
        by = o.noticed.removeprefix("tests/").replace(".py::", " ")
        lines.append(f"| {o.path}:{o.line} | {_cell(o.before)} | {_cell(o.after)} | {by} |")
    return "\n".join(lines) + "\n"


def _cell(code: str) -> str:
    return f"`{code}`".replace("|", "\\|")


def _key(outcome: Outcome) -> str:
    return f"{outcome.path} {outcome.before} -> {outcome.after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--python", type=int, default=54, help="damages to Python files")
    parser.add_argument("--of", nargs="+", default=[""], metavar="PATH", help="of files whose paths begin so alone")
    parser.add_argument("--page", type=int, default=6, help="damages to the page")
    parser.add_argument("--files", type=int, default=MOST_FILES, help="test files to run for one damage, at most")
    parser.add_argument("--minutes", type=float, default=1e9, help="end after so long, with what was tried")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "mutation.md")
    parser.add_argument("--results", type=Path, help="what is tried goes here, a line each; what is here is not redone")
    parser.add_argument("--again", action="store_true", help="try anew what --results has as unnoticed, and no more")
    parser.add_argument("--whys", type=Path, help="reasons for what stays unnoticed: JSON, 'PATH BEFORE -> AFTER': why")
    parser.add_argument("--list", action="store_true", help="print the sample and try nothing")
    order = parser.parse_args()
    mutants = sample(order.seed, order.python, order.page, order.of)
    if order.list:
        print("\n".join(f"{mutant}  [{' '.join(concerned(mutant.path, order.files))}]" for mutant in mutants))
        return
    done = _read(order.results)
    if order.again:
        mutants = [mutant for mutant in mutants if mutant.place in done]
        done = {place: outcome for place, outcome in done.items() if outcome.noticed}
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in HEAVY:
        __import__(name)
    with tempfile.TemporaryDirectory(prefix="roam-mutants-") as folder:
        root = copied(Path(folder))
        ground, outcomes = Ground(root), []
        end = time.monotonic() + 60 * order.minutes
        for mutant in itertools.takewhile(lambda _: time.monotonic() < end, mutants):
            outcome = done.get(mutant.place) or try_out(mutant, root, ground, order.files)
            outcomes.append(outcome)
            print(f"{mutant}: {outcome.noticed or 'NOT NOTICED'} ({outcome.seconds:.0f} s)", flush=True)
            if order.results and outcome not in done.values():
                with order.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
    whys = json.loads(order.whys.read_text(encoding="utf-8")) if order.whys else {}
    order.out.write_text(report(outcomes, order.seed, ground.unfit, whys), encoding="utf-8")
    print(f"{sum(bool(o.noticed) for o in outcomes)} of {len(outcomes)} were noticed; {order.out}")


def _read(path: Path | None) -> dict[tuple, Outcome]:
    if path is None or not path.exists():
        return {}
    outcomes = [Outcome(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return {(o.path, o.line, o.before, o.after): o for o in outcomes}


if __name__ == "__main__":
    main()
