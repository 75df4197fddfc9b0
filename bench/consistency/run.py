"""`run`: gives every episode to every model, in processes, and writes a line for each as it comes; may be interrupted.

Episodes are distributed to the processes one by one, each with all models that still lack it, so that the truth of an
episode is rendered once. What is in results.jsonl already is not asked again.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from ...scenes.splits import SPLITS
from ...viewer.files.outputs import OutputError
from ...world.side_by_side.processes import Workers
from .ask import ask, digest_of
from .metrics.score import score
from .models.adapters import WorldModel
from .models.baselines import BASELINES
from .models.opening import check_model, open_model
from .questions.episode import MODES, BenchError, Episode
from .questions.forms import FORMS, SHORT_GAP, Form
from .questions.tasks import SPLIT, TASKS, build
from .questions.truth import Truth
from .questions.worlds import check_world
from .results import (
    EpisodeResult,
    Manifest,
    append_lines,
    load_frames,
    machine,
    read_lines,
    read_manifest,
    save_frames,
    today,
    write_manifest,
)

LONG_TASKS = ("T9", "T10")
TWICE = ("T11",)  # asked with two seeds at least
KEPT_SCENES = 2  # whose frames are kept, for the report's pictures and for `verify`


@dataclass(frozen=True)
class Job:
    """One episode and the models that are to answer it."""

    folder: str
    episode: Episode
    models: tuple[str, ...]
    keep_frames: bool


def run(
    models: Sequence[str],
    out: str | Path,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    modes: Sequence[str] = ("C",),
    form: str = "quick",
    seeds: Sequence[int] = (0,),
    scenes: int | None = None,
    split: str = SPLIT,
    world: str = "",
    processes: int | None = None,
    note: str = "",
    progress: Callable[[int, int, str], None] | None = None,
) -> list[EpisodeResult]:
    """Ask all models all episodes and return every line of the folder, those of earlier runs too.

    models: specs as `models/opening.py` reads them; "baselines" stands for all rows that need no weights. modes: C, F
    or both. scenes: fewer or more than the form has. split: "test" for results, "dev" to choose by. world: "" for
    our own scenes, "doom" or "doom:FILE.wad" for levels. progress: called with (episodes done, episodes to do, what was
    just done).
    """
    if split not in SPLITS[1:]:
        raise BenchError(f"split '{split}'; wanted test, which is held out, or dev, to choose by")
    check_world(world, split)
    specs = expand(models)
    for spec in specs:
        check_model(spec)
    folder = Path(out)
    episodes = episodes_of(tasks, modes, sized(form, scenes), seeds, split=split, world=world)
    asked = {episode.key: episode.digest for episode in episodes}
    manifest = Manifest(form, tuple(tasks), tuple(modes), tuple(seeds), specs, asked, split=split, world=world)
    _announce(folder, replace(manifest, machine=machine(), date=today(), note=note))
    jobs = _jobs(folder, episodes, specs)
    for count, (job, lines, about) in enumerate(_results(jobs, processes), 1):
        append_lines(folder, lines)
        _learn(folder, about)
        if progress:
            progress(count, len(jobs), job.episode.key)
    return read_lines(folder)


def _jobs(folder: Path, episodes: Sequence[Episode], specs: Sequence[str]) -> list[Job]:
    """The jobs still to be done: long episodes first, so that no process is left alone with one at the end."""
    done = {(line.model, line.key) for line in read_lines(folder) if not line.error}
    jobs = []
    for episode in episodes:
        missing = tuple(spec for spec in specs if (spec, episode.key) not in done)
        if missing:
            jobs.append(Job(str(folder), episode, missing, episode.number < KEPT_SCENES))
    return sorted(jobs, key=lambda job: -len(job.episode.actions))


def expand(models: Sequence[str]) -> tuple[str, ...]:
    """The specs that are meant, each once; "baselines" for all of them."""
    names = [name for spec in models for name in (BASELINES if spec == "baselines" else (spec,))]
    return tuple(dict.fromkeys(names))


def sized(form: str, scenes: int | None) -> Form:
    if form not in FORMS:
        raise BenchError(f"unknown form '{form}'; known: {', '.join(FORMS)}")
    chosen = FORMS[form]
    if scenes is None:
        return chosen
    return replace(chosen, scenes=scenes, long_scenes=min(scenes, chosen.long_scenes), unseen_scenes=scenes)


def episodes_of(
    tasks: Sequence[str],
    modes: Sequence[str],
    form: Form,
    seeds: Sequence[int],
    *,
    split: str = SPLIT,
    world: str = "",
) -> list[Episode]:
    """Every episode of a run, the same everywhere. Sampling seeds ask the same path with another random state."""
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise BenchError(f"unknown mode {unknown}; known: C (context), F (free)")
    episodes = []
    for task in tasks:
        for mode in modes:
            for number in range(_scenes_of(task, form)):
                most = None if number < form.scenes else 1  # of scenes beyond, T11's half turn alone
                paths = build(task, number, mode=mode, form=form, split=split, world=world, most=most)
                far = [e for e in paths if number < form.long_scenes or (e.gap or 0) <= SHORT_GAP]
                asked = two_of(seeds) if task in TWICE else seeds
                episodes += [replace(episode, seed=seed) for seed in asked for episode in far]
    return episodes


def _scenes_of(task: str, form: Form) -> int:
    if task in TWICE:
        return max(form.scenes, form.unseen_scenes)
    return form.long_scenes if task in LONG_TASKS else form.scenes


def two_of(seeds: Sequence[int]) -> Sequence[int]:
    """At least two seeds: whether dreams differ cannot be told from one."""
    return seeds if len(seeds) > 1 else (seeds[0], seeds[0] + 1)


def _announce(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, or merge it with that of a run that is being continued."""
    if (folder / "manifest.json").exists():
        before = read_manifest(folder)
        if (held := _kind(before)) != (wanted := _kind(manifest)):
            raise BenchError(f"{folder} holds a run of {held}; wanted {wanted}: name another folder")
        join = lambda a, b: tuple(dict.fromkeys((*a, *b)))  # noqa: E731
        manifest = replace(
            manifest,
            tasks=join(before.tasks, manifest.tasks),
            modes=join(before.modes, manifest.modes),
            seeds=join(before.seeds, manifest.seeds),
            models=join(before.models, manifest.models),
            asked=before.asked | manifest.asked,
            about=before.about,
            note=manifest.note or before.note,
        )
    write_manifest(folder, manifest)


def _kind(manifest: Manifest) -> str:
    """What the runs in one folder must have in common."""
    world = manifest.world or "our own scenes"
    return f"form '{manifest.form}', split '{manifest.split}', version {manifest.version}, {world}"


def _learn(folder: Path, about: dict[str, dict]) -> None:
    """Record the models' descriptions of themselves, once."""
    manifest = read_manifest(folder)
    if any(manifest.about.get(name) != said for name, said in about.items()):
        write_manifest(folder, replace(manifest, about=manifest.about | about))


def _results(jobs: Sequence[Job], processes: int | None):
    """(job, lines, about) in the order in which they are done; in this process if one is asked for."""
    count = min(processes or os.cpu_count() or 1, max(1, len(jobs)))
    if count == 1:
        for job in jobs:
            yield (job, *results_of(job))
        return
    with Workers(count, get_context("spawn"), _one_thread) as pool:
        pending = {pool.submit(results_of, job): job for job in jobs}
        for future in as_completed(pending):
            yield (pending[future], *future.result())


def _one_thread() -> None:
    """A process a core is enough: no library may start threads of its own."""
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"


_MODELS: dict[str, WorldModel] = {}  # models that this process has open: weights are read once, not once per episode


def results_of(job: Job) -> tuple[list[EpisodeResult], dict[str, dict]]:
    """One line per model, and the models' descriptions. A model that raises gives a line with the error in it.

    A model that cannot even be opened stops the run; otherwise every line would hold the same error.
    """
    truth, lines, about = Truth(job.episode), [], {}
    for spec in job.models:
        if spec not in _MODELS:
            _MODELS[spec] = open_model(spec)
        try:
            lines.append(_result(job, spec, _MODELS[spec], truth))
            about[spec] = _MODELS[spec].about
        except OutputError:  # the disk has failed, and not the model
            raise
        except Exception as error:  # somebody's model: whatever it raises is its result
            lines.append(replace(blank(spec, job.episode), error=f"{error!r}\n{traceback.format_exc(limit=-3)}"))
    return lines, about


def _result(job: Job, spec: str, model: WorldModel, truth: Truth) -> EpisodeResult:
    answers, seconds = ask(model, truth)
    if job.keep_frames:
        save_frames(job.folder, spec, job.episode.key, answers)
    values, extra = score(truth, answers, seconds=seconds)
    return replace(blank(spec, job.episode), values=values, extra=extra, frames=digest_of(answers))


def blank(spec: str, episode: Episode) -> EpisodeResult:
    """A line with the question and no result."""
    return EpisodeResult(
        model=spec,
        key=episode.key,
        task=episode.task,
        variant=episode.variant,
        mode=episode.mode,
        scene=episode.number,
        seed=episode.seed,
        gap=episode.gap,
        episode=episode.digest,
        scored=episode.scored,
    )


def rescore(folder: str | Path, episode: Episode, spec: str) -> EpisodeResult | None:
    """The line that the kept frames of an episode give now, or None where none were kept."""
    answers = load_frames(folder, spec, episode.key)
    if answers is None:
        return None
    values, extra = score(Truth(episode), answers)
    return replace(blank(spec, episode), values=values, extra=extra, frames=digest_of(answers))
