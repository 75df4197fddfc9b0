"""The doctor names what is missing and the command that mends it; it fails only where a dream cannot run."""

from roam.viewer.doctor import Finding, examine, report


def test_every_missing_part_has_a_command_that_mends_it():
    findings = examine(has_display=False)
    assert {"Python", "torch", "triton", "pygame", "numba", "av", "open3d", "display", "CUDA", "bf16", "kernels",
            "weights", "cache", "home"} == {finding.name for finding in findings}  # fmt: skip
    assert next(f for f in findings if f.name == "display").mend


def test_without_a_needed_part_the_doctor_says_no(capsys):
    assert not report([Finding("weights", "none", "roam train", is_needed=True)])
    assert "mend weights" in capsys.readouterr().out


def test_what_is_merely_nice_to_have_does_not_stop_the_doctor(capsys):
    assert report([Finding("open3d", "none", "pip install 'roam[map]'"), Finding("torch", "2.13", is_needed=True)])
    assert "pip install 'roam[map]'" in capsys.readouterr().out
