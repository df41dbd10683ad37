"""No code of ours unpickles or evaluates what is in a file, and no hostile file gets it to."""

import ast
import json
import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from files.written import COARSE, HDF5, NPZ, PROBS, SDSS, TABLE, build

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for room in ("src", "examples", "benchmarks") for path in (ROOT / room).rglob("*.py")
)
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "dill.load", "dill.loads"),
    *("joblib.load", "shelve.open", "marshal.load", "marshal.loads", "pandas.read_pickle"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "jsonpickle.decode"),
    *("numcodecs.Pickle", "os.system", "os.popen"),
}
NEEDS = {  # call: the keyword that it must have, and with what
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(source: str) -> list[str]:
    """Calls in a source that could run what a file holds, and names that hide them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found += sorted(names & ({*FORBIDDEN, *NEEDS}))
        if isinstance(node, ast.Import):
            hidden = {"torch", "yaml", "pickle"}
            found += [alias.name for alias in node.names if alias.name in hidden and alias.asname]
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        keywords = {
            k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)
        }
        found += [name] if name in FORBIDDEN else []
        if name in NEEDS and keywords.get(NEEDS[name][0]) is not NEEDS[name][1]:
            found.append(name)
        if keywords.get("allow_pickle") is True or keywords.get("weights_only") is False:
            found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_a_file_holds(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "import pickle\npickle.load(file)",
        "from pickle import loads",
        "import pickle as p",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "module.load_from_checkpoint(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "read(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "from yaml import unsafe_load",
    ],
)
def test_the_search_finds_each_of_them(source):
    assert faults(source)


def test_the_search_lets_pass_what_is_safe():
    assert not faults("torch.load(path, weights_only=True); np.load(path, allow_pickle=False)")
    assert not faults("yaml.safe_load(text); model.eval(); re.compile(text)")


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.fixture
def payload(tmp_path):
    """A payload, whose file must not be there in the end; but it would be, if it were unpickled."""
    try_it = tmp_path / "tried"
    pickle.loads(pickle.dumps(Payload(try_it))).close()
    assert try_it.exists()
    yield Payload(tmp_path / "marker")
    assert not (tmp_path / "marker").exists()


def objects(payload) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, np.array([payload] * 2, dtype=object))
    return file.getvalue()


@pytest.mark.parametrize("name", ["probs.npy", "edges.npy", "r.npy", "id.npy"])
@pytest.mark.parametrize("content", [objects, pickle.dumps])
def test_npz_with_a_pickle(tmp_path, payload, name, content):
    path = tmp_path / NPZ.name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content(payload))
        for other, array in (("probs.npy", PROBS), ("edges.npy", COARSE.edges)):
            if other != name:
                with archive.open(other, "w") as file:
                    np.lib.format.write_array(file, array.numpy())
    with pytest.raises(ValueError, match=rf"predictions\.npz is no npz file.*{name[:-4]}"):
        NPZ.read(path)


@pytest.mark.parametrize("place", ["opaque", "bytes", "attribute"])
def test_hdf5_with_a_pickle(tmp_path, payload, place):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / HDF5.name
    HDF5.make(path)
    with h5py.File(path, "a") as file:
        if place == "attribute":  # bytes, and never more than that
            file["probs"].attrs["pickle"] = np.void(pickle.dumps(payload))
            file.attrs["arrays"] = np.void(pickle.dumps(payload))
        elif place == "opaque":
            file["q"] = np.array([np.void(pickle.dumps(payload))] * 2)
        else:
            file["q"] = np.array([pickle.dumps(payload)] * 2)
    with pytest.raises(ValueError, match=r"predictions\.h5"):
        HDF5.read(path)


@pytest.mark.parametrize("codec", ["pickle", "numcodecs.pickle", "vlen-utf8", "numcodecs.json2"])
def test_zarr_with_a_codec_of_objects(tmp_path, payload, codec):
    path = tmp_path / TABLE.name
    build(path)
    described = path / "residual" / "zarr.json"
    content = json.loads(described.read_text()) | {"codecs": [{"name": codec}]}
    described.write_text(json.dumps(content | {"data_type": "object"}))
    (path / "residual/c/0/0/0").write_bytes(pickle.dumps(payload))
    for call in (TABLE.read, build):
        with pytest.raises(ValueError, match=r"residual cannot be mapped"):
            call(path)


def test_zarr_with_a_pickle_for_a_header_or_a_chunk(tmp_path, payload):
    path = tmp_path / TABLE.name
    build(path)
    chunk = path / "residual/c/0/0/0"
    chunk.write_bytes(pickle.dumps(payload).ljust(chunk.stat().st_size, b"\0"))
    with pytest.raises(ValueError, match=r"c/0/0/0"):
        TABLE.read(path)
    (path / "zarr.json").write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match="is no FluxTable"):
        TABLE.read(path)


def test_fits_with_a_pickle(tmp_path, payload):
    path = tmp_path / SDSS.name
    path.write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match=r"spec-1\.fits is no whole SDSS spectrum"):
        SDSS.read(path)
