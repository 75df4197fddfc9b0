"""Files of results: a write that breaks off leaves the file that was there, and nothing else."""

import ast
import errno
from pathlib import Path

import numpy as np
import pytest
from roam.bench import reports
from roam.viewer.files.outputs import OutputError

BENCH = Path(__file__).parents[2] / "bench"
IN_PLACE = {"imwrite", "savefig", "write_text", "write_bytes", "savez", "savez_compressed", "dump", "save_file"}
PIXELS = np.zeros((4, 5, 3), np.uint8)


def figure():
    from matplotlib.figure import Figure  # seconds of every process that only collects these tests

    drawn = Figure()
    drawn.subplots().plot([1, 2])
    return drawn


WRITERS = {
    "report.md": lambda path: reports.keep_text(path, "½ of them"),
    "report.json": lambda path: reports.keep_json(path, {"psnr": 21.5}),
    "frames.npz": lambda path: reports.keep_arrays(path, pixels=PIXELS),
    "sheet.png": lambda path: reports.keep_picture(path, PIXELS),
    "sheet.jpg": lambda path: reports.keep_picture(path, PIXELS),
    "curve.png": lambda path: reports.keep_figure(path, figure()),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "end", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), SystemExit(143)]
)
def test_a_write_that_breaks_off_leaves_the_file_before_it_and_nothing_else(tmp_path, monkeypatch, name, end):
    path = tmp_path / "results" / name
    WRITERS[name](path)
    before = path.read_bytes()

    def breaking(self, data):
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise end

    monkeypatch.setattr(Path, "write_bytes", breaking)
    with pytest.raises(OutputError if isinstance(end, OSError) else type(end), match=r"No space left|143|^$"):
        WRITERS[name](path)
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == [name]


def test_a_picture_of_no_known_kind_is_told(tmp_path):
    with pytest.raises(OutputError, match=r"suffix '\.roam'; wanted"):
        reports.keep_picture(tmp_path / "sheet.roam", PIXELS)


def test_benchmarks_write_their_results_in_no_other_way():
    """Every call that writes a file in place, but those into memory and those of what is no result."""
    others = {"stream.py:save", "imagination/recogniser.py:save", "imagination/recipe.py:train"}
    found = set()
    for path in BENCH.rglob("*.py"):
        name = path.relative_to(BENCH).as_posix()
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for call in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
                called = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
                is_opened = called == "open" and "'w" in ast.unparse(call)
                if name != "reports.py" and (called.rpartition(".")[2] in IN_PLACE or is_opened):
                    found.add(f"{name}:{function.name}")
                if called in ("shutil.copy", "shutil.copyfile"):
                    found.add(f"{name}:{function.name}")
    assert found <= others
