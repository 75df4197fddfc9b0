"""Before the command line is there."""

import subprocess
import sys

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
