"""The beginning and the end of `roam`: signals while it is still being imported, and an end that takes no time."""

import subprocess
import sys

import pytest

READING = """
import sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from roam.viewer.begin import main
main()
"""


def test_ctrl_c_while_the_command_line_is_read_says_nothing():
    done = subprocess.run([sys.executable, "-c", READING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


ENDING = """
import atexit, gc, sys
atexit.register(lambda: print(len(gc.get_objects()) < 1000))
sys.argv = ["roam", sys.argv[1]]
from roam.viewer.begin import main
main()
"""


@pytest.mark.parametrize(("word", "code"), [("--help", 0), ("nonsense", 2)])
def test_a_command_that_is_done_does_not_search_what_it_has_read_for_cycles(word, code):
    """Torch has so many objects that Python took up to seven seconds to end, also after a signal."""
    done = subprocess.run([sys.executable, "-c", ENDING, word], capture_output=True, text=True, timeout=120)
    assert done.returncode == code and done.stdout.endswith("True\n"), done.stdout
