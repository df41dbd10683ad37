"""The public names, and the layers: no import runs back."""

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from contract.surface import public_names
from public import found, modules, objects
from torch import nn

import photoz_losses
from photoz_losses._calls import typed_as

SOURCE = Path(photoz_losses.__file__).parent
ROOT = Path(__file__).parents[1]
INVENTORY = {  # the names are written once, in the table of the contract
    import_module(f"photoz_losses.{module}".rstrip(".")): names
    for module, names in public_names().items()
}
MAY_IMPORT = {  # room: the rooms below it
    "_calls": set(),
    "_check": set(),
    "_float64": set(),
    "_repr": set(),
    "_values": {"_check"},
    "_whole": set(),
    "_blocks": {"_check"},
    "bins": {"_blocks", "_check", "_float64", "_values"},
    "rebinning": {"bins", "_check"},
    "calibration": {"_calls", "_check", "bins", "_float64", "_repr"},
    "photometry": {"_calls", "bins", "_check", "_float64", "_whole"},
    "losses": {"_calls", "bins", "_check", "_float64", "_repr", "_values", "photometry"},
    "transforms": {"_calls", "_check", "_repr"},
    "_forward_mode": set(),
    "views": {"transforms", "_check", "_forward_mode", "_repr"},
    "metrics": {"_calls", "bins", "_blocks", "_check", "_float64", "_repr", "losses"},
    "io": {"_check", "bins", "_whole"},
    "plots": {"bins", "_check", "metrics"},
    "report": {"bins", "_check", "_whole", "io", "metrics", "plots"},
}
ORDER = {  # within a room: a file may import those before it
    "photometry": [
        *("_rows", "filters", "templates", "spectra"),
        *("_blocks", "_filter_sums", "synthetic", "residual"),
        *("_header", "_ids", "_pieces", "_mapped", "_layout", "_lock", "_store", "_build", "table"),
    ],
    "losses": [
        *("_reduce", "cross_entropy", "cde", "crps", "invariance", "rotation", "flux"),
        *("schedule", "weights", "total", "gradients"),
    ],
    "transforms": [
        *("_images", "dihedral", "rotation", "tangent"),
        *("clipping", "correlation", "background", "sources"),
    ],
    "metrics": [
        *("_table", "_streaming", "_samples", "_weighted", "point"),
        *("pit", "_pvalues", "uniformity", "intervals", "scores", "galaxies"),
        *("bootstrap", "binned", "presets"),
    ],
    "io": ["_arrays", "_formats", "files", "qp"],
    "plots": ["_axes", "pit", "redshifts", "densities", "binned", "samples", "coverage"],
    "report": ["numbers", "pictures", "page", "__main__"],
}


def own_forward(value):
    """Whether it is a Module whose forward stands in the class itself."""
    return inspect.isclass(value) and issubclass(value, nn.Module) and "forward" in vars(value)


@pytest.mark.parametrize("module", INVENTORY, ids=lambda module: module.__name__)
def test_public_names_are_the_inventory(module):
    assert sorted(module.__all__) == sorted(INVENTORY[module])
    for name in module.__all__:
        assert getattr(module, name).__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", [n for n, value in objects().items() if own_forward(value)])
def test_who_reads_types_is_told_what_a_call_takes(name):
    """torch says of every Module that its call takes anything and gives anything."""
    text = inspect.getsource(objects()[name])
    assert "@typed_as(forward)\n        def __call__(self)" in text


def test_what_types_a_call_is_the_forward_itself():
    assert typed_as(len)(print) is len


def test_rooms_that_are_slow_to_import_are_found_by_name():
    rooms = ("calibration", "io", "metrics", "plots", "report")
    assert {*rooms, *photoz_losses.__all__} <= set(dir(photoz_losses))
    for room in rooms:
        assert photoz_losses.__getattr__(room) is import_module(f"photoz_losses.{room}")
    with pytest.raises(AttributeError, match=r"'MAD': it is photoz_losses\.metrics\.MAD"):
        photoz_losses.__getattr__("MAD")
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        photoz_losses.__getattr__("nothing")


def test_every_public_package_lists_its_names():
    for name, module in found().items():
        assert not hasattr(module, "__path__") or hasattr(module, "__all__"), f"{name}: no __all__"


def handed_over() -> set[str]:
    """Names that a file of the package imports from another, as "metrics.pit.PITSample"."""
    return {
        f"{(node.module or '').removeprefix('photoz_losses').lstrip('.')}.{alias.name}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def unreached() -> set[str]:
    """Functions and classes of files without underscore that only their own file knows.

    The rule: in such a file a name without underscore is public, by the ``__all__`` of some module,
    or another file imports it. What a file keeps to itself begins with an underscore.
    """
    public = {id(value) for value in objects().values()}
    made = {
        f"{name}.{key}"
        for name, module in found().items()
        for key, value in vars(module).items()
        if key[0] != "_" and id(value) not in public
        if getattr(value, "__module__", None) == module.__name__
    }
    return made - handed_over()


def test_every_function_and_class_of_a_file_is_public_or_shared():
    assert unreached() == set()


@pytest.mark.parametrize("file", ["bins", "metrics.point", "losses.flux", "report"])
@pytest.mark.parametrize("new", [lambda: None, type("New", (), {})], ids=["function", "class"])
def test_a_new_name_that_stands_nowhere_is_found(file, new, monkeypatch):
    monkeypatch.setattr(new, "__module__", f"photoz_losses.{file}")
    monkeypatch.setattr(found()[file], "forgotten", new, raising=False)
    assert unreached() == {f"{file}.forgotten"}


def test_whoever_hands_names_on_hands_on_the_same():
    for name in found().keys() - modules().keys():
        for public in getattr(found()[name], "__all__", ()):
            assert getattr(found()[name], public) is getattr(photoz_losses, public)


def imports(path: Path) -> list[str]:
    """Dotted names below photoz_losses that a file imports, at any depth of its code."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("photoz_losses"):
            below = node.module.removeprefix("photoz_losses").lstrip(".")
            found += [below] if below else [alias.name for alias in node.names]
    return found


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE))
)
def test_no_import_runs_back(path):
    room, *rest = path.relative_to(SOURCE).with_suffix("").parts
    if "__init__" in (room, *rest):
        return
    for name in imports(path):
        other, *file = name.split(".")
        if other != room:
            assert other in MAY_IMPORT[room], f"{path.name} imports {name}"
        elif file:
            order = ORDER[room]
            assert rest[0] in order, f"{path.name} has no place in ORDER[{room!r}] of this test"
            assert order.index(file[0]) < order.index(rest[0]), f"{path.name} imports {name}"


def test_the_table_of_layers_is_the_one_that_holds():
    """CONTRIBUTING.md's, row by row; what every room may import stands below it."""
    text, for_all = (ROOT / "CONTRIBUTING.md").read_text(), set(list(MAY_IMPORT)[:5])
    rows = re.findall(r"^\| `src/photoz_losses/(\w+)\S*` \|.*\|(.*)\|$", text, re.MULTILINE)
    above: set[str] = set()
    for room, cell in rows:
        named = set(re.findall(r"`(\w+)`", cell))
        assert named == MAY_IMPORT[room] - for_all, room
        assert named <= above, f"{room} stands above what it imports"
        above.add(room)
    assert above == MAY_IMPORT.keys()
    assert {room for room, _ in rows[:5]} == for_all


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_every_term_is_in_the_tables_of_the_front_pages(page):
    text = (ROOT / page).read_text()
    rows = "".join(line for line in text.splitlines(keepends=True) if line.startswith("|"))
    weighing = {"TotalLoss", "WeightSchedule", "UncertaintyWeights", "ReLoBRaLo"}
    terms = [
        name
        for name in photoz_losses.__all__
        if isinstance(kind := getattr(photoz_losses, name), type)
        and issubclass(kind, nn.Module)
        and kind.__module__.startswith("photoz_losses.losses")
        and name not in weighing
    ]
    assert len(terms) > 5
    assert [name for name in terms if f"`{name}" not in rows] == []


def test_import_loads_no_heavy_package():
    heavy = {"astropy", "scipy", "speclite", "torchmetrics", "matplotlib"}
    heavy |= {"zarr", "dask", "distributed", "h5py", "qp"}
    heavy |= {"torch._dynamo"}  # with which torch takes seconds more
    heavy |= set() if torch.__version__.startswith("2.4.") else {"sympy"}  # 2.4 comes with it
    code = f"import sys, photoz_losses; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
