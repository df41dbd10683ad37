"""The whole message of every case of bad input, as ``messages.txt`` holds them.

``python tests/errors/messages.py`` writes that file: each message once, and below it, indented, the
cases that give it.
"""

import re
import sys
import warnings
from pathlib import Path
from tempfile import gettempdir

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from errors import (
    bins,
    densities,
    files,
    kinds,
    losses,
    photometry,
    plots,
    point,
    swapped,
    terms,
    total,
    transforms,
    views,
    weights,
)

ROOMS = (
    *(bins, losses, terms, views, total, weights, photometry, transforms, point, densities),
    *(kinds, swapped, files, plots),
)
FILE = Path(__file__).with_name("messages.txt")
CASE = "    - "


def message(error: Exception) -> str:
    """What a user sees in one line, with the folder of these tests and addresses left out."""
    text = str(error).replace(str(Path(__file__).parent), "FOLDER")
    text = re.sub(rf"{re.escape(gettempdir())}\S*?(?=/(predictions|p\.npz))", "FOLDER", text)
    return f"{type(error).__name__}: " + re.sub(r" at 0x[0-9a-f]+", "", text).replace("\n", "\\n")


def read(path: Path) -> dict[str, str]:
    """Message of each case."""
    whole, current = {}, ""
    for line in path.read_text().splitlines():
        if line.startswith(CASE):
            whole[line.removeprefix(CASE)] = current
        elif line:
            current = line
    return whole


def write(path: Path) -> None:
    """Call every case and note what it says."""
    cases: dict[str, list[str]] = {}
    for parameters in (parameters for room in ROOMS for parameters in room.case):
        call, error, _ = parameters.values
        with pytest.raises(error) as caught:
            call()
        cases.setdefault(message(caught.value), []).append(str(parameters.id))
    text = "\n".join(
        "\n".join([said, *(CASE + name for name in names)]) + "\n" for said, names in cases.items()
    )
    path.write_text(text)


if __name__ == "__main__":
    warnings.simplefilter("ignore", FutureWarning)  # of torch, about its own torch.jit
    write(FILE)
