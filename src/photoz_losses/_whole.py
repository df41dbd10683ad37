"""Files that are written whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Name to write to, beside `path`, which takes the place of `path` once it is on the disk.

    Where the block raises, `path` is as it was and nothing is left. A process that is killed may
    leave the hidden file ``.<name>.<random>.part``, never half of `path`.
    """
    path = Path(path).resolve()  # a link stays, what it points to is replaced
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        # who may not read the one of before may not read this one, nor what a killed process left
        part.touch(0o600 if path.exists() else 0o666, exist_ok=False)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # there was none, or the disk knows no modes
            shutil.copymode(path, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
