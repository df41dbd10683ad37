"""One builder of a table at a time."""

import errno
import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

OURS = re.compile(rb"(process \d+ on \S*)?")  # what a lock says, or nothing on a full disk
LONGEST = 400  # bytes of it
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # what some network disks say


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold ``<name>.lock`` beside `path`; False where the disk knows no locks, to keep others out.

    The system lets go of it when the process, and all that it forked while it held it, have ended,
    however they end: until then a fork holds it too.

    Raises
    ------
    BlockingIOError
        If another process holds it; names that process, also where it is dead and its fork lives.
    FileExistsError
        If a file of that name is there which is no lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(f"{path.name}.lock")
    descriptor, held = _locked(file, path)
    while not _is_still(descriptor, file):  # its last holder took it away
        os.close(descriptor)
        descriptor, held = _locked(file, path)
    said = os.fstat(descriptor)
    regular = stat.S_ISREG(said.st_mode) and said.st_size <= LONGEST  # a pipe would never end
    if not (regular and OURS.fullmatch(os.read(descriptor, LONGEST))):
        os.close(descriptor)
        raise FileExistsError(
            f"{file} is not the lock of a build: move it, or give the table another name"
        )
    try:
        with suppress(OSError):  # a full disk: the lock needs no name in it
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield held
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def clear(path: Path) -> None:
    """Take away the lock of a process that was killed when its work at `path` was done."""
    if path.with_name(f"{path.name}.lock").exists():
        with suppress(OSError), alone(path):  # held, or in a folder that may only be read: it stays
            pass


def _locked(file: Path, path: Path) -> tuple[int, bool]:
    """Descriptor of the open file, and whether it is locked."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    if sys.platform == "win32":  # which has no flock: nobody is kept out there
        return descriptor, False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 300).decode(errors="replace") or "another process"
        os.close(descriptor)
        raise BlockingIOError(
            f"{path} is being built by {holder}: wait until it has ended, then call again; if it "
            f"has, a process that it forked still holds {file}: end that one"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            os.close(descriptor)
            raise
        return descriptor, False
    return descriptor, True


def _is_still(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
