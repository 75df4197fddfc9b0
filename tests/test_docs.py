"""What docs/everywhere.md says was tried is tried by the test that it names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_row_of_what_was_tried_names_a_test_that_is_there():
    lines = (ROOT / "docs" / "everywhere.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "| `" in line]
    assert len(rows) > 20
    for row in rows:
        told = row.rsplit("|", 2)[1]
        if target := re.search(r"`make ([\w-]+)`", told):
            assert f"\n{target[1]}:" in (ROOT / "Makefile").read_text()
            continue
        file, name = re.search(r"`(tests/\S+\.py)` `(test_\w+)`", told).groups()
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name
