"""The sample of every public docstring runs as a reader pastes it, into an empty session.

``pytest src`` would lend each sample the imports of its module, and find nothing missing.
"""

import ast
import doctest
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import public
import pytest

SOURCE = Path(public.photoz_losses.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def documented() -> Iterator[tuple[str, Any]]:
    """Every public function and class, and what each class has of that kind, by its name."""
    for path, value in public.objects().items():
        if inspect.isclass(value) or inspect.isfunction(value):
            yield path, value
        for name in public.own(value) if inspect.isclass(value) else ():
            yield f"{path}.{name}", getattr(value, name)


# by its text, since a name may be reached by two paths
TEXTS = {inspect.getdoc(value) or "": path for path, value in documented()}
SAMPLES = {path: text for text, path in TEXTS.items() if ">>> " in text}


def test_every_sample_is_one_of_a_public_name():
    texts = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    assert texts.count(">>> ") == sum(text.count(">>> ") for text in SAMPLES.values())


@pytest.mark.parametrize("path", SAMPLES)
def test_a_sample_runs_in_an_empty_session(path):
    sample = doctest.DocTestParser().get_doctest(
        SAMPLES[path], {"__name__": "__main__"}, path, None, None
    )
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(sample, out=report.append)
    assert not result.failed, "".join(report)


def public_names() -> dict[str, set[str]]:
    return {
        f"{public.PACKAGE}.{module}".rstrip("."): set(where.__all__)
        for module, where in public.modules().items()
    }


@pytest.mark.parametrize("path", SAMPLES)
def test_a_sample_imports_public_names(path):
    names = public_names()
    examples = doctest.DocTestParser().get_examples(SAMPLES[path])
    for node in ast.walk(ast.parse("".join(example.source for example in examples))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(public.PACKAGE):
            assert {part.name for part in node.names} <= names[str(node.module)]
