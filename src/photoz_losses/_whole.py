"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Name to write to, beside `path`, which takes the place of `path` once it is on the disk.

    Where the block raises, `path` is as it was and nothing is left. A process that is killed may
    leave the hidden file ``.<name>.<random>.part``, never half of `path`.
    """
    path = Path(path).resolve()  # a link stays, what it points to is replaced
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
