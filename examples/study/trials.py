"""Trials of one Optuna study, worked on by several processes of which any may be killed.

A process holds a file lock as long as it lives, and its trials carry the lock's name: a running
trial whose lock is free was lost, and is tried again. (Optuna's own heartbeat is experimental, and
knows of a loss only after a while.)
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState
from tqdm import tqdm

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
NAME = "gamma"  # of the study and its file


class Target(NamedTuple):
    """What is minimised over weights in log scale, and what its values depend on besides."""

    ranges: Mapping[str, tuple[float, float]]
    epochs: Callable[[Mapping[str, float]], Iterator[float]]  # the value after each epoch
    n_epochs: int
    settings: Mapping[str, Any]


def work(folder: Path, trials: int, target: Target, seed: int = 0) -> None:
    """Try weights until the study has so many finished trials, then none: the baseline.

    Trials in work elsewhere count as finished; should they be lost, the next call makes them up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with at_work(folder) as worker, opened(folder) as storage:
        study = begin(storage, target, seed)
        with tqdm(total=trials, desc="trials", unit="trial") as progress:
            while (trial := next_trial(study, folder, worker, trials)) is not None:
                try_weights(study, trial, target)
                progress.update(len(finished(study)) - progress.n)
        if "baseline" not in study.user_attrs:
            *_, last = target.epochs({})
            study.set_user_attr("baseline", last)


def try_weights(study: optuna.Study, trial: Trial, target: Target) -> None:
    """Work on a trial until its last epoch, or until its value shows that it is not worth it."""
    weights = {
        name: trial.suggest_float(name, *ends, log=True) for name, ends in target.ranges.items()
    }
    for epoch, value in enumerate(target.epochs(weights), 1):
        trial.report(value, epoch)
        if epoch < target.n_epochs and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, value)


@contextmanager
def at_work(folder: Path) -> Iterator[str]:
    """Name of this process, locked as long as it lives, however it ends."""
    worker = uuid.uuid4().hex
    path = folder / f"{worker}.lock"
    with FileLock(path):
        yield worker
    path.unlink(missing_ok=True)


def lives(folder: Path, worker: str) -> bool:
    """Whether the process of that name still holds its lock."""
    path = folder / f"{worker}.lock"
    try:
        with FileLock(path, blocking=False):
            pass
    except Timeout:
        return True
    path.unlink(missing_ok=True)
    return False


@contextmanager
def opened(folder: Path) -> Iterator[optuna.storages.RDBStorage]:
    """The study's file; who finds it locked by another waits up to a minute."""
    engine = {"connect_args": {"timeout": 60}}
    with FileLock(folder / f"{NAME}.lock"):  # the first to come makes its tables
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/{NAME}.db", engine_kwargs=engine)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def begin(storage: optuna.storages.RDBStorage, target: Target, seed: int) -> optuna.Study:
    """The study, new or found; ValueError if its trials were made with other settings."""
    rising = target.n_epochs // 3  # epochs in which the learning rate rises: no pruning yet
    pruner = optuna.pruners.MedianPruner(n_startup_trials=10, n_warmup_steps=rising + 1)
    study = optuna.create_study(
        storage=storage, study_name=NAME, pruner=pruner, load_if_exists=True
    )
    # A search that goes on must not draw again what it drew when it began.
    entropy = np.random.SeedSequence([seed, len(study.get_trials(deepcopy=False))])
    study.sampler = optuna.samplers.TPESampler(seed=int(entropy.generate_state(1)[0]))
    settings = dict(target.settings)
    known = study.user_attrs.get("settings", settings)
    if known != settings:
        differing = [name for name in settings if known.get(name) != settings[name]]
        raise ValueError(
            f"the study was begun with {', '.join(f'{k} = {known.get(k)}' for k in differing)}, "
            f"this is {', '.join(f'{k} = {settings[k]}' for k in differing)}: take another folder"
        )
    study.set_user_attr("settings", settings)
    return study


def finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=FINISHED)


def next_trial(study: optuna.Study, folder: Path, worker: str, trials: int) -> Trial | None:
    """A trial to work on, those of killed processes first; None if so many are done or in work."""
    with FileLock(folder / f"{NAME}.lock"):
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            owner = trial.user_attrs.get("worker")  # None if it was killed right after ask
            if owner is None or not lives(folder, owner):
                study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
                study.tell(trial.number, state=TrialState.FAIL)
        if len(study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.RUNNING))) >= trials:
            return None
        mine = study.ask()
        mine.set_user_attr("worker", worker)
        return mine
