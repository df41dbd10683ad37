"""Full disks and folders that may not be written to: an error, what was there stays, no litter."""

import ctypes
import errno
import io
import os
import resource
import shutil
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from files.written import HDF5, NPZ, PROBS, SPECTRA, TABLE, build, predict, read_table, same

WRITTEN = [TABLE, NPZ, HDF5]


@contextmanager
def files_of_at_most(size: int):
    """A limit of the system's own: a write beyond it fails (Python ignores the signal)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full_from(step: int):
    """A disk that is full from the given call on that opens, makes, flushes or names a file."""
    calls = count()

    def full(original, writes=lambda *args, **kwargs: True):
        def call(*args, **kwargs):
            if writes(*args, **kwargs) and next(calls) >= step:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*args, **kwargs)

        return call

    def to_write(file, mode="r", *args, **kwargs):
        return not isinstance(file, int) and ("w" in mode or "+" in mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", full(io.open, to_write))
        for name in ("mkdir", "fsync", "replace", "rename"):
            patch.setattr(os, name, full(getattr(os, name)))
        yield calls


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("one", WRITTEN, ids=lambda one: one.name)
@pytest.mark.parametrize("size", [0, 300])
def test_a_file_that_outgrows_the_disk_leaves_nothing(tmp_path, one, size):
    with files_of_at_most(size), pytest.raises(OSError, match="File too large"):
        one.make(tmp_path / one.name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("one", [NPZ, HDF5], ids=lambda one: one.name)
def test_an_earlier_file_outlives_a_full_disk(tmp_path, one):
    path = tmp_path / one.name
    one.make(path)
    before = content(tmp_path)
    steps = 0
    while True:
        try:
            with full_from(steps):
                predict(path, PROBS.flip(0))
            break
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017
        assert content(tmp_path) == before
        steps += 1
    assert steps >= 3  # opened, flushed, named
    assert content(tmp_path) != before


def outlives(step: int, folder: Path, whole: list) -> bool:
    """Whether the disk is full before the table is done; what then lies there goes on, if so."""
    path = folder / "table.zarr"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with full_from(step):
            build(path)
        return False
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017
    build(path)
    assert same(read_table(path), whole)
    assert [item.name for item in folder.iterdir()] == ["table.zarr"]
    assert not [*path.rglob("*.partial"), *path.rglob("*.part")]
    return True


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "table.zarr"
    build(path)
    return read_table(path)


@pytest.mark.parametrize("step", [0, 3, 23, 50])
def test_a_build_goes_on_after_a_full_disk(tmp_path, whole, step):
    assert outlives(step, tmp_path / "disk", whole)


@pytest.mark.slow
def test_a_build_goes_on_after_a_full_disk_at_any_step(tmp_path, whole):
    steps = next(step for step in count() if not outlives(step, tmp_path / "disk", whole))
    assert steps > 50


@contextmanager
def bound_by_permissions():
    """A root that permissions bind as they bind any other user, without becoming another user
    (who may not be able to read the environment that Python runs from)."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # capget(2): version 3, this thread
    held = (ctypes.c_uint32 * 6)()  # twice effective, permitted, inheritable
    assert libc.capget(header, held) == 0
    bound = type(held)(*held)
    bound[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, bound) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


@pytest.fixture
def locked(tmp_path):
    """A folder that may be read and not written to."""
    folder = tmp_path / "in"
    folder.mkdir()
    for one in WRITTEN:
        one.make(folder / one.name)
    with pytest.raises(KeyboardInterrupt):
        build(folder / "begun.zarr", stops())
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with bound_by_permissions():
        yield folder
    for path in paths:
        path.chmod(0o755)


def stops():
    yield SPECTRA[:4]
    raise KeyboardInterrupt


def test_nothing_is_written_into_a_folder_that_may_only_be_read(locked):
    before = content(locked)
    for one in WRITTEN:
        assert one.read(locked / one.name)
    build(locked / TABLE.name)  # finished: it is only read
    calls = [
        (predict, NPZ.name),
        (predict, HDF5.name),
        (predict, "new.npz"),
        (build, "begun.zarr"),
        (build, "new.zarr"),
        (build, "deeper/new.zarr"),
    ]
    for call, name in calls:
        with pytest.raises(PermissionError, match=str(locked)):
            call(locked / name)
    assert content(locked) == before


@pytest.mark.parametrize("one", WRITTEN, ids=lambda one: one.name)
def test_a_path_below_a_file_is_named(tmp_path, one):
    (tmp_path / "file").write_text("here")
    with pytest.raises(OSError, match=f"{tmp_path}/file"):
        one.make(tmp_path / "file" / one.name)
    assert content(tmp_path) == {"file": b"here"}
