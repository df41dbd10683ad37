"""Every public name has its place in the reference, and its docstring what a reader looks for."""

import ast
import inspect
import re
import shutil
import subprocess
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import check_links
import draw_benchmarks
import draw_reliability
import pytest
from contract.surface import public_names
from numpydoc.docscrape import FunctionDoc, NumpyDocString
from numpydoc.validate import validate
from torch import nn

ROOT = Path(__file__).parents[1]
NAMES = {
    f"{'photoz_losses.' + module if module else 'photoz_losses'}.{name}"
    for module, names in public_names().items()
    for name in names
}
OBJECTS = {
    path: getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in NAMES
}
FUNCTIONS = sorted(path for path, value in OBJECTS.items() if inspect.isfunction(value))
CLASSES = sorted(path for path, value in OBJECTS.items() if inspect.isclass(value))
IN_PROSE = {"photoz_losses.metrics.PRESETS"}  # a mapping has no signature
MEANING = {  # numpydoc's codes
    "GL08": "has no docstring",
    "SS03": "summary without a full stop",
    "PR01": "parameters that are not described",
    "PR02": "describes parameters that it has not",
    "RT01": "does not say what it returns",
    "EX01": "has no example",
}
EXCUSED = {
    ("photoz_losses.RedshiftBins", "PR01"): "*more is there for the error alone",
    ("photoz_losses.photometry.FluxTable", "PR01"): "made by build, open and load, not by its name",
}


def text_of(path: str) -> str:
    return inspect.getdoc(OBJECTS[path]) or ""


def room(path: str) -> str:
    """Folder of the source that defines it."""
    return getattr(OBJECTS[path], "__module__", "").removeprefix("photoz_losses.").split(".")[0]


def linked(path: str) -> set[str]:
    """Public names that its docstring links to."""
    found = {text.rpartition(".")[2] for text in re.findall(r"`~?([\w.]+)`", text_of(path))}
    return {name for name in NAMES if name.rpartition(".")[2] in found and name != path}


def codes(path: str) -> set[str]:
    found = {code for code, _ in validate(path)["errors"]} & MEANING.keys()
    return {code for code in found if (path, code) not in EXCUSED}


def shown() -> set[int]:
    """Identities of what the pages of the reference document, modules among them."""
    found = set()
    for page in sorted((ROOT / "docs/reference").glob("*.md")):
        module = ""
        for directive, name in re.findall(
            r"^\.\. (currentmodule|auto(?:class|function)):: (\S+)", page.read_text(), re.MULTILINE
        ):
            if directive == "currentmodule":
                module = name
                found.add(id(import_module(module)))
            else:
                found.add(id(getattr(import_module(module), name)))
    return found


def test_every_public_name_is_in_the_reference():
    there = shown()
    missing = {path for path, value in OBJECTS.items() if id(value) not in there}
    assert missing == IN_PROSE
    for path in IN_PROSE:
        name = f"`{path.rpartition('.')[2]}`"
        assert any(name in page.read_text() for page in (ROOT / "docs/reference").glob("*.md"))


@pytest.mark.parametrize("path", FUNCTIONS)
def test_a_function_says_what_goes_in_and_what_comes_out(path):
    assert not {code: MEANING[code] for code in codes(path)}


@pytest.mark.parametrize("path", FUNCTIONS)
def test_a_function_says_what_it_raises(path):
    doc = FunctionDoc(OBJECTS[path])
    assert doc["Raises"] or "Raises" in text_of(path), path


@pytest.mark.parametrize("path", FUNCTIONS)
def test_a_tensor_has_a_shape(path):
    for parameter in FunctionDoc(OBJECTS[path])["Parameters"]:
        if parameter.type.startswith("Tensor"):
            assert re.search(r"shape|scalar|float or", parameter.type), (path, parameter)


@pytest.mark.parametrize("path", [p for p in FUNCTIONS if room(p) in ("losses", "metrics")])
def test_a_loss_or_metric_gives_its_equation_or_its_source(path):
    texts = [text_of(name) for name in (path, *linked(path))]
    assert any(re.search(r"\.\. math::|\b(19|20)\d\d\b|eq\. \d", text) for text in texts)


@pytest.mark.parametrize(
    "path", [p for p in FUNCTIONS + CLASSES if room(p) in ("losses", "photometry")]
)
def test_what_has_a_unit_says_it(path):
    for parameter in NumpyDocString(text_of(path))["Parameters"]:
        if {"wavelength", "flux", "ivar", "angle"} & {*re.split(r"\W+", parameter.name)}:
            text = " ".join(parameter.desc)
            assert re.search(r"\bunits?\b|Angstrom|erg/s|of `flux`|degrees|As in", text), (
                parameter.name
            )


@pytest.mark.parametrize("path", CLASSES)
def test_a_class_says_it_or_links_to_what_does(path):
    """A Module stores the options of a function and refers to it; a record lists its fields."""
    found = codes(path) - {"RT01"}
    text = text_of(path)
    if fields_are_described(OBJECTS[path], text):
        found -= {"PR01"}
    for code, section in (("PR01", "Parameters"), ("EX01", "Examples")):
        if any(section in text_of(name) for name in linked(path)):
            found -= {code}
    assert not {code: MEANING[code] for code in found}


@pytest.mark.parametrize("path", [p for p in CLASSES if issubclass(OBJECTS[p], nn.Module)])
def test_a_module_names_its_options_and_shows_a_call(path):
    text = text_of(path)
    options = list(inspect.signature(OBJECTS[path]).parameters.values())
    named = [one.name for one in options if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    missing = [name for name in named if not re.search(rf"\b{name}\b", text)]
    assert not missing, f"its docstring has to name {', '.join(missing)}"
    of_function = path.endswith(".PhotoZMetrics")  # which `photo_z_metrics` makes
    assert ">>> " in text or of_function, "its docstring has to show a call"


def fields_are_described(cls: Any, text: str) -> bool:
    fields = getattr(cls, "_fields", None) or getattr(cls, "__dataclass_fields__", None)
    attributes = text.partition("Attributes\n")[2]
    return bool(fields) and all(re.search(rf"\b{name}\b", attributes) for name in fields)


@pytest.mark.parametrize("path", CLASSES)
def test_every_public_method_says_what_it_does(path):
    for name, value in vars(OBJECTS[path]).items():
        kinds = (classmethod, staticmethod, property)
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds)):
            text = inspect.getdoc(getattr(OBJECTS[path], name)) or ""
            assert text.split("\n\n")[0].rstrip().endswith((".", ":", ";")), f"{path}.{name}"


def test_every_excuse_is_needed():
    for path, code in EXCUSED:
        assert code in {found for found, _ in validate(path)["errors"]}


def test_every_kept_result_is_on_a_page():
    results = {path.stem for path in (ROOT / "benchmarks/results").glob("*.json")}
    assert results <= draw_benchmarks.TABLES.keys() | draw_benchmarks.ELSEWHERE.keys()
    page = (ROOT / "docs/benchmarks.md").read_text()
    for name in draw_benchmarks.TABLES:
        assert f"_generated/benchmarks/{name}.md" in page
    for name in draw_benchmarks.ELSEWHERE.values():
        assert f"{{doc}}`{name}`" in page


def test_every_row_of_a_result_is_in_its_tables(tmp_path):
    draw_benchmarks.build(ROOT / "benchmarks/results", tmp_path)
    for name in draw_benchmarks.TABLES:
        content = draw_benchmarks.read(ROOT / "benchmarks/results", name)
        text = (tmp_path / f"{name}.md").read_text()
        for row in draw_benchmarks.rows_of(content):
            assert f"| {row} |" in text, (name, row)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1206.4, "1,210"), (0.000342939, "0.000343"), (9.996, "10.0"), (64, "64.0"), (-0.5, "-0.500")],
)
def test_three_digits_without_an_exponent(value, text):
    assert draw_benchmarks.digits(value) == text


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("DSPS", "DSPS, calc_rest_mag, jit"),
        ("fastspecfit", "fastspecfit, get_ab_maggies_unchecked"),
    ],
)
def test_the_readme_has_the_errors_of_its_own_table_for_other_packages(name, row):
    """The largest of smooth and noisy spectra, in cells covered to 99 % and in those in part."""
    content = draw_benchmarks.read(ROOT / "benchmarks/results", "flux")["rows"][row]
    text = " ".join((ROOT / "README.md").read_text().split())
    found = re.search(
        rf"\({name}\) (?:takes )?(\d+) ms\D+with (?:largest errors of )?(\S+) and (\S+)[,;]", text
    )
    assert found, text
    assert found[1] == f"{content['ms_a_galaxy']:.0f}"
    for shown, kind in zip(found.groups()[1:], ("covered", "partly"), strict=True):
        largest = max(content["errors"][f"{sky}, {kind}"]["largest"] for sky in ("smooth", "noisy"))
        assert f"{float(shown):.0e}" == f"{largest:.0e}"


GALLERY = sorted((ROOT / "examples/gallery").glob("plot_*.py"))


@pytest.mark.parametrize("script", GALLERY, ids=lambda path: path.stem)
def test_a_page_of_the_gallery_says_what_its_script_needs_of_the_examples(script):
    """A script that is downloaded from its page leaves behind what it imports from there."""
    tree = ast.parse(script.read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    needed = {name for name in modules if (ROOT / f"examples/{name}.py").exists()}
    text = ast.get_docstring(tree)
    assert set(re.findall(r"``(\w+)\.py`` of ``examples``", text)) == needed
    command = f"``PYTHONPATH=examples python examples/gallery/{script.name}``"
    assert (command in text) == bool(needed)


def test_equal_reasons_of_several_checks_are_one_row():
    skips = {
        "suite": {"no GPU": 3, "no hyrax": 1},
        "coverage": {"no GPU": 3},
        "slow": {"no GPU": 2},
    }
    counts = {name: {"skips": reasons} for name, reasons in skips.items()}
    assert draw_reliability.skip_cells(counts)[1:] == [
        ["3", "no GPU", "the default suite; the default suite, its lines counted"],
        ["1", "no hyrax", "the default suite"],
        ["2", "no GPU", "the slow profile"],
    ]


def test_a_module_whose_code_changed_after_a_commit_is_found(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("needs git")

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    module = tmp_path / "f.py"
    module.write_text('"""One."""\n\ndef f(x):\n    """Two."""\n    return x + 1\n')
    git("init", "-q")
    git("add", "f.py")
    git("commit", "-qm", "a")
    commit = git("rev-parse", "HEAD")
    changed = partial(draw_reliability.code_changed, tmp_path)
    assert not changed(commit, "f.py")
    module.write_text("def f(x):  # three\n\n    return (x + 1)\n")
    assert not changed(commit, "f.py")
    module.write_text('"""One."""\n\ndef f(x):\n    """Two."""\n    return x + 2\n')
    assert changed(commit, "f.py")
    assert not changed("0" * 40, "f.py")  # of another history
    monkeypatch.setattr(draw_reliability, "which", lambda name: None)
    assert not changed(commit, "f.py")


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "there.html").write_text('<h1 id="here">…</h1>')
    (tmp_path / "picture.png").write_bytes(b"")
    good = (
        '<a href="there.html#here"></a><img src="picture.png"><a href="#mine" id="mine"></a>'
        '<a href="https://example.org/"></a><link rel="canonical" href="https://example.org/">'
    )
    (tmp_path / "index.html").write_text(good)
    assert check_links.broken(tmp_path) == []
    bad = {
        '<a href="gone.html"></a>': "index.html: gone.html",
        '<a href="there.html#gone"></a>': "index.html: there.html#gone",
        '<img src="gone.png">': "index.html: gone.png",
        '<a href="./"></a>': "index.html: ./",
        '<script src="https://example.org/a.js"></script>': (
            "index.html loads https://example.org/a.js"
        ),
    }
    (tmp_path / "index.html").write_text(good + "".join(bad))
    check_links.read.cache_clear()
    assert sorted(check_links.broken(tmp_path)) == sorted(bad.values())
