"""The doctor names what is missing and the command that installs it; it fails only where a dream cannot run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from roam.viewer.commands import doctor
from roam.viewer.commands.doctor import Finding, examine, report
from roam.world.files import write_digests


def finding(name: str) -> Finding:
    return next(each for each in examine(missing=None) if each.name == name)


def test_every_missing_part_has_a_command_that_mends_it():
    findings = examine(missing="no display")
    assert {
        "Python",
        "torch",
        "triton",
        "pygame",
        "numba",
        "av",
        "open3d",
        "display",
        "CUDA",
        "bf16",
        "kernels",
        "weights",
        "cache",
        "home",
    } == {finding.name for finding in findings}
    assert next(f for f in findings if f.name == "display").mend


def test_without_a_needed_part_the_doctor_says_no(capsys):
    assert not report([Finding("weights", "none", "roam train", is_needed=True)])
    assert "mend weights" in capsys.readouterr().out


def test_what_is_merely_nice_to_have_does_not_stop_the_doctor(capsys):
    mend = "pip install 'roam-worlds[map]'"
    assert report([Finding("open3d", "none", mend), Finding("torch", "2.13", is_needed=True)])
    assert "pip install 'roam-worlds[map]'" in capsys.readouterr().out


def test_an_open3d_that_does_not_load_is_told_with_what_mends_it(monkeypatch):
    monkeypatch.setattr(doctor.metadata, "distribution", lambda name: name)
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.19")
    monkeypatch.setattr(doctor, "why_not_open3d", lambda: "which does not load: libusb-1.0.so.0: cannot open")
    found = finding("open3d")
    assert "libusb" in found.found and "apt-get install libusb" in found.mend


def test_a_user_without_a_home_is_told(monkeypatch):
    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(doctor.Path, "home", refuse)
    assert "--folder" in finding("home").mend
    monkeypatch.setattr("roam.world.compiled.cache_folder", lambda: None)
    assert "NUMBA_CACHE_DIR" in finding("cache").mend


def test_weights_of_which_a_bit_has_flipped_are_told(monkeypatch, tmp_path):
    assert not finding("weights").mend
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_digests(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"veights")
    monkeypatch.setattr(doctor.resources, "files", lambda package: tmp_path)
    found = finding("weights")
    assert "model.safetensors is not as it was written" in found.found and found.mend == "reinstall roam-worlds"


@pytest.mark.slow(reason="warms up and walks twice, half a minute")
def test_after_the_warm_up_a_walk_compiles_nothing(tmp_path):
    def roam(*words: str) -> set[str]:
        """The compiled code that a command reads or writes. What is cached already is read: it is compiled anew only
        where a source has changed since."""
        command = [sys.executable, "-m", "roam.viewer.cli", *words]
        settings = {**os.environ, "NUMBA_DEBUG_CACHE": "1", "OMP_NUM_THREADS": "1"}
        said = subprocess.run(command, env=settings, cwd=tmp_path, check=True, capture_output=True, text=True)
        return set(re.findall(r"data (?:loaded from|saved to) '(.*)'", said.stdout))

    warm = roam("doctor", "--warm")
    functions = {Path(path).name.partition("-")[0] for path in warm}
    assert {"anew._take", "anew._see_through"} <= functions  # of who nears a dream
    for seed in ("1", "2"):  # among houses, and in a room
        walked = roam("play", "--headless", "--frames", "61", "--seed", seed, "--out", seed)
        assert walked and walked <= warm
