"""Two builders of one table: the second is told of the first, and harms nothing."""

import errno
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from files.written import SPECTRA, build, read_table, same

from photoz_losses.photometry import FluxTable, _lock

TESTS = Path(__file__).parents[1]
HOLDS = """
import runpy, sys
from pathlib import Path
with runpy.run_path(sys.argv[1])["alone"](Path(sys.argv[2])):
    print("holds", flush=True)
    sys.stdin.readline()
"""
FORKS = """
import os, runpy, signal, sys
from pathlib import Path
with runpy.run_path(sys.argv[1])["alone"](Path(sys.argv[2])):
    fork = os.fork()
    if fork:
        print("holds", fork, sep="\\n", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
"""
BUILDS = """
import sys, time
from pathlib import Path
from files.written import build
path, go = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not go.exists():
    time.sleep(0.001)
try:
    build(path)
except BlockingIOError as error:
    print(error)
else:
    print("built")
"""


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Python in a process of its own, that has said its first word."""
    places = os.pathsep.join(map(str, [TESTS, *sys.path]))
    started = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": places},
    )  # fmt: skip
    assert started.stdout.readline().strip() in ("holds", "ready")
    return started


def told(path: Path, process: int) -> str:
    return (
        f"{path} is being built by process {process} on {socket.gethostname()}: wait until it "
        f"has ended, then call again; if it has, a process that it forked still holds {path}.lock: "
        f"end that one"
    )


def test_a_builder_is_told_of_another_process(tmp_path):
    path = tmp_path / "t.zarr"
    with process(HOLDS, _lock.__file__, path) as other:
        with pytest.raises(BlockingIOError) as error:
            build(path)
        assert str(error.value) == told(path, other.pid)
        assert not path.exists()
        other.communicate("go on")
    build(path)
    assert [item.name for item in tmp_path.iterdir()] == ["t.zarr"]


def test_a_fork_that_outlives_its_builder_holds_the_lock_until_it_ends(tmp_path):
    path = tmp_path / "t.zarr"
    with process(FORKS, _lock.__file__, path) as other:
        fork = int(other.stdout.readline())
        other.wait()
        try:
            with pytest.raises(BlockingIOError) as error:
                build(path)
        finally:
            os.kill(fork, signal.SIGKILL)
    assert str(error.value) == told(path, other.pid)
    with (tmp_path / "t.zarr.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits until the fork has ended
    build(path)
    assert [item.name for item in tmp_path.iterdir()] == ["t.zarr"]


def test_another_process_is_told_of_the_builder(tmp_path):
    path = tmp_path / "t.zarr"
    said = []

    def stream():
        yield SPECTRA[:4]
        command = [sys.executable, "-c", HOLDS, _lock.__file__, str(path)]
        said.append(subprocess.run(command, capture_output=True, text=True, input="").stderr)
        with pytest.raises(BlockingIOError):  # nor does the process itself get in twice
            build(path)
        yield SPECTRA[4:]

    build(path, stream())
    assert told(path, os.getpid()) in said[0]
    build(tmp_path / "whole.zarr")
    assert same(read_table(path), read_table(tmp_path / "whole.zarr"))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["t.zarr", "whole.zarr"]


@pytest.mark.slow
def test_two_processes_that_build_at_once_leave_one_whole_table(tmp_path):
    path, go = tmp_path / "t.zarr", tmp_path / "go"
    with process(BUILDS, path, go) as one, process(BUILDS, path, go) as other:
        go.touch()
        ends = [builder.communicate()[0].strip() for builder in (one, other)]
    assert "built" in ends
    assert set(ends) <= {"built", told(path, one.pid), told(path, other.pid)}
    build(tmp_path / "whole.zarr")
    assert same(read_table(path), read_table(tmp_path / "whole.zarr"))
    assert {item.name for item in tmp_path.iterdir()} == {"go", "t.zarr", "whole.zarr"}


def test_a_finished_table_is_opened_by_any_number_of_builders(tmp_path):
    path = tmp_path / "t.zarr"
    build(path)

    def stream():
        assert len(build(path)) == len(SPECTRA)
        yield SPECTRA

    assert len(build(path, stream())) == len(SPECTRA)


def test_what_a_killed_builder_left_stops_nobody(tmp_path):
    path = tmp_path / "t.zarr"
    (tmp_path / "t.zarr.lock").write_text("process 1 on node-1.of.another")
    (tmp_path / f"{hidden('t.zarr')}{'0f' * 8}.partial").mkdir()
    build(path)
    assert [item.name for item in tmp_path.iterdir()] == ["t.zarr"]


def hidden(name):
    return f".photoz_losses-{hashlib.sha256(name.encode()).hexdigest()[:16]}-"


LONG = "process 7 on " + 500 * "m"


@pytest.mark.parametrize(
    "text", ["mine", "process of my thesis", LONG, "process 7 on node-1", "process 7 on ", ""]
)
def test_what_others_keep_beside_a_table_stays(tmp_path, text):
    """Folders of names like its own; and a file named as its lock, if it says something else."""
    kept = [tmp_path / name for name in ("t.zarr.partial", f"{hidden('u')}0f.partial")]
    for folder in kept:
        folder.mkdir()
        (folder / "thesis.txt").write_text("all of it")
    lock = tmp_path / "t.zarr.lock"
    lock.write_text(text)
    if "m" in text:
        with pytest.raises(
            FileExistsError, match=r"t\.zarr\.lock is not the lock of a build: move"
        ):
            build(tmp_path / "t.zarr")
        assert lock.read_text() == text
        lock.unlink()
    build(tmp_path / "t.zarr")
    build(tmp_path / "t.zarr")  # finished: only read
    assert {item.name for item in tmp_path.iterdir()} == {"t.zarr", *(one.name for one in kept)}
    assert all((folder / "thesis.txt").read_text() == "all of it" for folder in kept)


def test_a_lock_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.zarr.lock")
    with pytest.raises(FileExistsError, match=r"t\.zarr\.lock is not the lock of a build"):
        build(tmp_path / "t.zarr")


def test_the_name_of_a_table_may_be_as_long_as_that_of_its_lock(tmp_path):
    name = "t" * 250
    assert len(build(tmp_path / name)) == len(SPECTRA)
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_where_the_disk_has_no_locks_what_another_builds_stays(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "none")

    monkeypatch.setattr("fcntl.flock", flock)
    other = tmp_path / f"{hidden('t.zarr')}{'0f' * 8}.partial"
    other.mkdir()
    build(tmp_path / "t.zarr")
    assert other.is_dir()


def test_a_finished_table_is_never_what_another_builder_left(tmp_path):
    build(tmp_path / "t.zarr.partial")
    build(tmp_path / "t.zarr")
    assert len(FluxTable.load(tmp_path / "t.zarr.partial")) == len(SPECTRA)


def test_a_lock_left_beside_a_finished_table_goes(tmp_path):
    path = tmp_path / "t.zarr"
    build(path)
    (tmp_path / "t.zarr.lock").write_text("process 7 on node-1")
    build(path)
    assert [item.name for item in tmp_path.iterdir()] == ["t.zarr"]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "t.zarr.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=r"t\.zarr\.lock"):
        build(tmp_path / "t.zarr")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_where_the_disk_has_no_locks_the_table_is_built_all_the_same(tmp_path, monkeypatch, error):
    def refuses(*args):
        raise OSError(getattr(errno, error), "no locks")

    monkeypatch.setattr("fcntl.flock", refuses)
    assert len(build(tmp_path / "t.zarr")) == len(SPECTRA)


def test_a_disk_that_fails_to_lock_is_told_and_nothing_stays_open(tmp_path, monkeypatch):
    opened = []

    def fails(descriptor, operation):
        opened.append(descriptor)
        raise OSError(errno.EIO, "a broken disk")

    monkeypatch.setattr("fcntl.flock", fails)
    with pytest.raises(OSError, match="a broken disk"):
        build(tmp_path / "t.zarr")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(*opened)
    assert not (tmp_path / "t.zarr").exists()


@pytest.mark.parametrize("by_another", [False, True])
def test_a_lock_on_a_file_that_its_last_holder_took_away_keeps_nobody_out(
    tmp_path, monkeypatch, by_another
):
    """It may end, and a third begin, between our opening of the file and our lock on it."""
    flock, file, held = fcntl.flock, tmp_path / "t.zarr.lock", []

    def late(descriptor, operation):
        if not held:
            file.unlink()
            if by_another:
                file.touch()
        held.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr("fcntl.flock", late)
    with _lock.alone(tmp_path / "t.zarr"):
        assert len(held) == 2
        assert os.path.samestat(os.fstat(held[-1]), file.stat())
    assert not file.exists()
