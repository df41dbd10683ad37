"""A deadline for every test of files: what is damaged may hang a library within C."""

import faulthandler
import os

import pytest

SECONDS = {False: 120, True: 1800}  # of a test, and of a slow one


@pytest.fixture(scope="session")
def terminal(request):
    """The standard error that pytest found, to which a process that ends itself can still speak."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), os.fdopen(os.dup(2), "w") as file:
        yield file


@pytest.fixture(autouse=True)
def _deadline(request, terminal):
    """The process ends, with its stack, where a test takes too long, within C too."""
    slow = request.node.get_closest_marker("slow") is not None
    faulthandler.dump_traceback_later(SECONDS[slow], exit=True, file=terminal)
    yield
    faulthandler.cancel_dump_traceback_later()
