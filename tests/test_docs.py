"""What the pages name exists: tests, commands with their options, files, links, extras."""

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import pytest
from roam.viewer.cli import app
from typer.main import get_command
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "plugins").glob("*/README.md")),
    *(ROOT / folder / "weights" / "README.md" for folder in ("world", "bench/imagination")),
]
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]+")
FOREIGN = {"--write-movie", "--path"}  # Godot's own
FOLDERS = ["world", "kernels", "scenes", "viewer", "bench", "plugins", "examples", "tests", "docs", "packaging"]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=named)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def shell_lines(text: str) -> list[str]:
    """The lines of a page's shell blocks, those that go on joined, comments left out."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.split(r"\s#\s", line)[0].strip() for line in lines]


def inline_commands(text: str) -> list[str]:
    """The texts between backticks that begin with `roam`."""
    return [
        " ".join(told.split()) for told in re.findall(r"`(roam [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    ]


def roam_commands(text: str) -> list[list[str]]:
    """Every call of `roam`, as the words after it."""
    lines = [line for line in [*shell_lines(text), *inline_commands(text)] if line.startswith("roam ")]
    return [shlex.split(line)[1:] for line in lines]


@cache
def command_line():
    return get_command(app)


def options_of(words: list[str]) -> tuple[str, set[str]]:
    """The command that words begin with, and its options; AssertionError where there is no such command."""
    command, path = command_line(), ["roam"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"no `{words[0]}` in `{' '.join(path)}`: {sorted(command.commands)}"
        command, path, words = command.commands[words[0]], [*path, words[0]], words[1:]
    told = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    if command.context_settings.get("ignore_unknown_options"):  # arguments for a module of bench/
        told |= set(OPTION.findall(source_of_benchmark(path[-1])))
    return " ".join(path), told


def source_of_benchmark(name: str) -> str:
    file = ROOT / "bench" / f"{name}.py"
    return (file if file.exists() else ROOT / "bench" / name / "__main__.py").read_text(encoding="utf-8")


@cache
def every_option() -> set[str]:
    """The options of every command of `roam`, and those that programs in this tree (Python, Godot's) read."""
    found, groups = set(), [command_line()]
    while groups:
        command = groups.pop()
        groups += getattr(command, "commands", {}).values()
        found |= {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for file in (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.[pg][yd]")):
        found |= set(re.findall(r'(?:add_argument\(|^\s*)"(--[\w-]+)"[:,]', text_of(file), re.MULTILINE))
    return found


@each_page
def test_every_command_of_roam_is_there_and_takes_the_options_that_it_is_told_with(page):
    for words in roam_commands(text_of(page)):
        path, options = options_of(words)
        told = {word.split("=")[0] for word in words if OPTION.fullmatch(word.split("=")[0])}
        assert told <= {*options, "--help"}, f"{path} has no {sorted(told - options)}"


@pytest.mark.parametrize("command", ["play", "view"])
def test_the_help_prints_the_extra_that_a_headset_wants(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "'roam-worlds[xr]'" in CliRunner().invoke(app, [command, "--help"]).output


@each_page
def test_every_option_that_is_named_is_one_of_something(page):
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.S)
    told = {option for code in re.findall(r"`([^`]+)`", prose) for option in OPTION.findall(code)}
    assert told <= every_option() | FOREIGN, sorted(told - every_option() - FOREIGN)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if not re.match(r"https?:", target):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def files_named(text: str) -> set[str]:
    """The paths from the root of this tree that a page names, between backticks or as words of a shell line."""
    words = [word for line in [*re.findall(r"`([^`\n]+)`", text), *shell_lines(text)] for word in line.split()]
    paths = [word.strip(".,;:()'\"").partition("#")[0] for word in words]
    return {path for path in paths if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./~-]*", path)}


@each_page
def test_every_file_that_is_named_is_there(page):
    for path in files_named(text_of(page)):
        assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path


@each_page
def test_every_module_extra_and_target_of_make_is_there(page):
    text = text_of(page)
    for module in re.findall(r"python -m (?:roam\.)?((?:tests|bench|viewer|world)[\w.]*)", text):
        path = ROOT / module.rstrip(".").replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), module
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for extra in re.findall(r"roam-worlds\[([\w,-]+)\]", text):
        assert set(extra.split(",")) <= set(extras), extra
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_row_of_what_was_tried_names_a_test_that_is_there():
    lines = text_of(ROOT / "docs" / "everywhere.md").splitlines()
    tables = lines[: lines.index("## Run and not run")]
    rows = [line for line in tables if "| `" in line]
    assert len(rows) > 20
    for row in rows:
        told = row.rsplit("|", 2)[1]
        if target := re.search(r"`make ([\w-]+)`", told):
            assert f"\n{target[1]}:" in (ROOT / "Makefile").read_text()
            continue
        file, name = re.search(r"`(tests/\S+\.py)` `(test_\w+)`", told).groups()
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_every_test_that_noticed_a_damage_is_there():
    # rows of the page of mutants leave out tests/ and .py
    for file, name in re.findall(r"\| ([\w/]+/test_\w+) (test_\w+) \|", text_of(ROOT / "docs" / "mutation.md")):
        assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"), name
