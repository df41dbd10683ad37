"""Counts the examples that were run, for the terminal's summary and for a file.

``PHOTOZ_LOSSES_FUZZ_COUNT`` names the file, which gets one JSON object: examples by target.
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

RUN: Counter[str] = Counter()


@pytest.fixture
def examples_run(request):
    """A function to be called in each example."""

    def count():
        RUN[f"{request.path.stem}::{request.node.name}"] += 1

    return count


def pytest_terminal_summary(terminalreporter):
    if RUN:
        terminalreporter.write_line(f"{RUN.total():,} examples in {len(RUN)} targets of fuzz")
        if path := os.environ.get("PHOTOZ_LOSSES_FUZZ_COUNT"):
            Path(path).write_text(json.dumps({"examples": RUN.total(), "targets": dict(RUN)}))
