"""Work that any number of processes share: each piece is a JSON file, whole or absent.

Each has a checksum, ``sha256``, of everything else in it.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

Content = dict[str, Any]
SUM = "sha256"


def share_out(folder: Path, jobs: Mapping[str, Callable[[], Content]], title: str) -> None:
    """Do every job whose file is not there and that no other process is at.

    A lock ends with the process that holds it, so that the job of a killed one is done again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = tqdm(jobs.items(), desc=title)
    for name, job in progress:
        progress.set_postfix_str(name)
        try:
            with FileLock(folder / f".{name}.lock", blocking=False):
                once(folder / f"{name}.json", job)
        except Timeout:
            continue


def wait_for(path: Path, job: Callable[[], Content]) -> Content:
    """What a job gives, done here or by the process that is at it already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.stem}.lock")):
        return once(path, job)


def once(path: Path, job: Callable[[], Content]) -> Content:
    if not path.exists():
        write(path, job())
    return read(path)


def write(path: Path, content: Content, indent: int | None = 1) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    plain = json.loads(json.dumps(content, allow_nan=False))  # what will be read
    text = json.dumps(plain | {SUM: checksum(plain)}, indent=indent) + "\n"
    try:
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path) -> Content:
    """What was written; ValueError if it is not, by its checksum, where it has one."""
    try:
        content: Content = json.loads(path.read_text())
        found = content.pop(SUM, None)
        if found is not None and found != checksum(content):
            raise ValueError("it is not what was written, by its checksum")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it, to have it done again") from None
    return content


def checksum(content: Content) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def same_settings(path: Path, settings: Content) -> None:
    """Refuse to go on in a folder with other settings than those it was begun with."""
    begun = wait_for(path, lambda: settings)
    changed = [name for name in settings if settings[name] != begun.get(name)]
    if changed:
        told = ", ".join(f"{name}={begun.get(name)!r}" for name in changed)
        raise ValueError(f"{path.parent} was begun with {told}: give that, or another --output")


def kept(plans: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> Content:
    """The runs of each plan, in its order, and what made them said once."""
    makers: list[Content] = []
    runs: dict[str, list[Content]] = {}
    for title, (folder, plan) in plans.items():
        runs[title] = [read(folder / f"{name}.json") for name in plan]
        for run in runs[title]:
            if run["made_by"] not in makers:
                makers.append(run["made_by"])
            run["made_by"] = makers.index(run["made_by"])
    return {"made_by": makers, "runs": rounded(runs)}


def missing(plans: Iterable[tuple[Path, Mapping[str, Any]]]) -> list[Path]:
    """Files of runs that are not done."""
    paths = [folder / f"{name}.json" for folder, plan in plans for name in plan]
    return [path for path in dict.fromkeys(paths) if not path.exists()]


def rounded(value: Any, digits: int = 6) -> Any:
    """The same lists and mappings with so many significant digits, for a file that is kept."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one, digits) for one in value]
    return value
