"""Bad input: files, reports and tables."""

import warnings
from collections import deque
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from astropy import units
from astropy.table import Column, MaskedColumn
from astropy.utils.masked import Masked
from errors.table import (
    BINS,
    FLUX,
    GRID,
    INF,
    LOGITS,
    NAN,
    PHOTOMETRY,
    PROBS,
    VALID,
    Cases,
    Z,
    changed,
)

from photoz_losses.io import Predictions, from_qp, load_predictions, save_predictions, to_qp
from photoz_losses.photometry import FluxTable, Spectra
from photoz_losses.report import write_report

HERE = Path(__file__).parent
ROWS = torch.tensor([0, 1])
HIDDEN = np.ma.array([0.1, 0.2], mask=[False, True])
SPEEDS = [0.1, 0.2] * units.km / units.s
ENDLESS = [0]
ENDLESS.append(ENDLESS)


def quantized(values):
    with warnings.catch_warnings():  # of torch, about its own function
        warnings.simplefilter("ignore", UserWarning)
        return torch.quantize_per_tensor(values, 0.1, 0, torch.qint8)


IDS = {  # that no file has: one at a time, with what is said of it
    "NaN": (NAN, TypeError, "text or integers", "nan"),
    "a fraction": (1.5, TypeError, "text or integers", "1.5"),
    "True": (True, TypeError, "text or integers", "True"),
    "None": (None, TypeError, "text or integers", "None"),
    "bytes": (b"a", TypeError, "text or integers", "b'a'", "decode()"),
    "empty": ("", ValueError, "not empty", "leave that galaxy out"),
    "a surrogate": ("\ud800", ValueError, "UTF-8", "\\ud800"),
    "NUL": ("a\0", ValueError, "NUL", "a\\x00"),
    "of 65 bits": (2**64, ValueError, "64 bits", str(2**64)),
    "that Python cannot write": (10**5000, ValueError, "64 bits", "got int"),
}
case = Cases()


def saved(suffix=".npz", probs=PROBS, bins=BINS, *rest, **columns):
    with TemporaryDirectory() as folder:
        save_predictions(Path(folder, f"predictions{suffix}"), probs, bins, *rest, **columns)


for fault, call, error, *says in (
    ("suffix", lambda: saved(".txt"), ValueError, "path must end in", "predictions.txt"),
    ("logits", lambda: saved(probs=LOGITS), ValueError, "probs", "masses per bin"),
    ("no batch", lambda: saved(probs=PROBS[0]), ValueError, "probs", "(4,)"),
    ("bins", lambda: saved(bins=None), TypeError, "bins", "RedshiftBins", "None"),
    ("z_spec of another batch", lambda: saved(z_spec=Z[:1]), ValueError, "z_spec", "(2,)", "(1,)"),
    ("z_spec infinite", lambda: saved(z_spec=Z * INF), ValueError, "z_spec", "infinite", "NaN"),
    ("z_spec a mask", lambda: saved(z_spec=Z > 0), TypeError, "z_spec", "floating", "bool"),
    ("z_spec an array of bool", lambda: saved(z_spec=[True, False]), TypeError, "z_spec", "bool"),
    ("z_spec labels", lambda: saved(z_spec=[1, 2]), TypeError, "z_spec", "int64", "labels"),
    ("z_spec half", lambda: saved(z_spec=Z.half()), TypeError, "z_spec", "float16", "digits"),
    ("z_spec bfloat16", lambda: saved(z_spec=Z.bfloat16()), TypeError, "z_spec", "bfloat16"),
    (
        "z_spec an array of half",
        lambda: saved(z_spec=Z.half().numpy()),
        TypeError,
        "z_spec",
        "float16",
        "digits",
    ),
    ("z_spec masked", lambda: saved(z_spec=HIDDEN), TypeError, "z_spec", "mask", "compressed()"),
    (
        "column masked",
        lambda: saved(r=Masked(HIDDEN)),
        TypeError,
        "r must have no mask",
        "r.filled",
    ),
    (
        "ids masked",
        lambda: saved(object_id=HIDDEN > 0),
        TypeError,
        "object_id",
        "no mask",
        "filled(...)",
    ),
    ("z_spec a velocity", lambda: saved(z_spec=SPEEDS), TypeError, "z_spec", "no unit", "km / s"),
    (
        "z_spec a column of velocities",
        lambda: saved(z_spec=Column(SPEEDS)),
        TypeError, "z_spec must have no unit", "km / s", ".value",
    ),
    (
        "z_spec a list of velocities",
        lambda: saved(z_spec=list(SPEEDS)), TypeError, "z_spec must have no unit", "km / s",
    ),
    (
        "column of magnitudes",
        lambda: saved(r=[17.1, 17.4] * units.mag), TypeError, "r must have no unit", "mag",
    ),
    (
        "column of colours",
        lambda: saved(color=[17.1, 17.4] * units.ABmag - [16.1, 16.5] * units.ABmag),
        TypeError, "color must have no unit", "in mag", ".value",
    ),
    (
        "ids and a flag in a deque",
        lambda: saved(object_id=deque([True, 2])), TypeError, "object_id", "text or integers",
    ),
    (
        "column of a table in AB magnitudes",
        lambda: saved(r=Column([17.1, 17.4], unit="mag(AB)")), TypeError, "r must have", "mag(AB)",
    ),
    (
        "ids with a unit",
        lambda: saved(object_id=units.Quantity([1, 2], "m", dtype=int)),
        TypeError, "object_id must have no unit", "in m", ".value",
    ),
    (
        "z_spec wider than float64",
        lambda: saved(z_spec=Z.numpy().astype(np.longdouble)),
        TypeError, "z_spec must be float64 or narrower", ".astype(float)",
    ),
    (
        "column wider than float64",
        lambda: saved(r=np.ones(2, np.longdouble)), TypeError, "r must be float64 or narrower",
    ),
    ("path a number", lambda: save_predictions(5, PROBS, BINS), TypeError, "path", "Path", "5"),
    ("path NUL", lambda: save_predictions("a\0", PROBS, BINS), ValueError, "path", "NUL"),
    ("object_id fractions", lambda: saved(object_id=[0.5, 1.5]), TypeError, "id", "integers"),
    ("object_id a float array", lambda: saved(object_id=Z), TypeError, "object_id", "integers"),
    ("object_id one name", lambda: saved(object_id="ab"), ValueError, "object_id must have shape"),
    ("object_id of others", lambda: saved(object_id=[1]), ValueError, "object_id must have shape"),
    ("column of words", lambda: saved(r=["a", "b"]), TypeError, "r must be of", "object_id"),
    ("column None", lambda: saved(r=None), TypeError, "r must be of numbers", "objects", "floats"),
    ("column of Decimals", lambda: saved(r=[Decimal(1)] * 2), TypeError, "r must be of", "floats"),
    ("column complex", lambda: saved(r=Z * 1j), TypeError, "r must be of numbers, got complex64"),
    ("column of another batch", lambda: saved(r=[1.0]), ValueError, "r must have", "(1,)"),
    ("name of ours", lambda: saved(edges=Z), ValueError, "columns", "'edges'"),
):  # fmt: skip
    case(f"save_predictions: {fault}", call, error, *says)
for fault, (one, error, *says) in IDS.items():
    for other in ("b", 1):
        case(
            f"save_predictions: object_id {fault}, beside {other!r}",
            lambda x=one, y=other: saved(object_id=[y, x]), error, "object_id must be", *says,
        )  # fmt: skip
for fault, path, error, *says in (
    ("missing", "nowhere/predictions.npz", FileNotFoundError, "nowhere/predictions.npz"),
    ("suffix", "predictions.csv", ValueError, "path must end in", "predictions.csv"),
    ("a number", 5, TypeError, "path", "Path", "5"),
    ("None", None, TypeError, "path", "Path", "None"),
    ("NUL", "a\0.npz", ValueError, "path", "NUL"),
):
    case(f"load_predictions: {fault}", lambda p=path: load_predictions(p), error, *says)
case("Predictions: no bins", lambda: Predictions(PROBS), TypeError, "bins")
case("to_qp: no galaxies", lambda: to_qp(PROBS[:0], BINS), ValueError, "probs is empty")
case("from_qp: not an ensemble", lambda: from_qp(PROBS, BINS), TypeError, "ensemble", "Tensor")
case("from_qp: bins", lambda: from_qp(BINS, BINS), TypeError, "ensemble", "RedshiftBins")
case(
    "from_qp: max_outside",
    lambda: from_qp(to_qp(PROBS, BINS), BINS, max_outside=5.0), ValueError, "max_outside", "5.0",
)  # fmt: skip


def report(probs=PROBS, z_spec=Z, bins=BINS, **options):
    with TemporaryDirectory() as folder:
        write_report(probs, z_spec, bins, folder, **options)


for fault, call, error, *says in (
    ("preset", lambda: report(preset="lsst"), ValueError, "preset", "'paper'", "'lsst'"),
    ("logits", lambda: report(LOGITS), ValueError, "probs", "masses per bin"),
    ("a list", lambda: report(PROBS.tolist()), TypeError, "probs", "list"),
    ("z_spec a list", lambda: report(z_spec=[0.1, 0.2]), TypeError, "z_spec", "list"),
    ("no galaxies", lambda: report(PROBS[:0], Z[:0]), ValueError, "probs", "(0, 4)"),
    ("by of our name", lambda: report(by={"redshift": Z}), ValueError, "by", "'redshift'"),
    ("by a list", lambda: report(by=[Z]), TypeError, "by", "mapping", "list"),
    ("column a list", lambda: report(by={"r": [1.0, 2.0]}), TypeError, "by['r']", "list"),
    ("a number for a name", lambda: report(by={1: Z}), TypeError, "by", "names", "1"),
    ("None for a name", lambda: report(by={None: Z}), TypeError, "by", "names", "None"),
    ("a tuple for a name", lambda: report(by={("a",): Z}), TypeError, "by", "names", "tuple"),
    ("a surrogate", lambda: report(by={"\ud800": Z}), ValueError, "by['\\ud800']", "UTF-8"),
    ("NUL in a name", lambda: report(by={"r\0": Z}), ValueError, "by['r\\x00']", "without NUL"),
    ("complex column", lambda: report(by={"r": Z * 1j}), TypeError, "by['r']", "numbers"),
    ("sparse column", lambda: report(by={"r": Z.to_sparse()}), TypeError, "by['r']", "dense"),
    ("column of others", lambda: report(by={"r": Z[:1]}), ValueError, "by['r']", "2", "(1,)"),
    ("column NaN", lambda: report(by={"r": Z * NAN}), ValueError, "by['r']", "finite", "got 0"),
    (
        "column too far",
        lambda: report(by={"r": torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64)}),
        ValueError, "by['r']", "1e300", "1.7e+308",
    ),
    ("output a number", lambda: write_report(PROBS, Z, BINS, 5), TypeError, "output", "Path", "5"),
    ("output NUL", lambda: write_report(PROBS, Z, BINS, "a\0"), ValueError, "output", "NUL"),
    ("n_boot", lambda: report(n_boot=2.5), TypeError, "n_boot", "integer", "2.5"),
    ("seed", lambda: report(seed="a"), TypeError, "seed", "integer", "'a'"),
):  # fmt: skip
    case(f"write_report: {fault}", call, error, *says)

# Tables -------------------------------------------------------------------------------------------

SPECTRA = Spectra(GRID, FLUX, FLUX, Z.double(), VALID)


def table(spectra=SPECTRA, bins=BINS, photometry=PHOTOMETRY, **options):
    return FluxTable.build(spectra, bins, photometry, **{"progress": False} | options)


for fault, call, error, *says in (
    ("no spectra", lambda: table([]), ValueError, "spectra"),
    ("a number for spectra", lambda: table(3), TypeError, "spectra", "int"),
    ("bins and photometry swapped", lambda: table(SPECTRA, PHOTOMETRY, BINS), TypeError, "photo"),
    ("chunk", lambda: table(chunk=0), ValueError, "chunk", "at least 1"),
    ("dtype", lambda: table(dtype=torch.int64), ValueError, "dtype"),
    ("progress", lambda: table(progress="a"), TypeError, "progress", "True or False", "'a'"),
    ("a mapping of spectra", lambda: table({"a": SPECTRA}), TypeError, "spectra", "dict"),
    ("a set of files", lambda: table({"a.fits"}), TypeError, "spectra", "in order", "set"),
    ("bytes for a path", lambda: table(b"a.fits"), TypeError, "spectra", "bytes"),
    ("Spectra among paths", lambda: table(["a.fits", SPECTRA]), TypeError, "paths", "Spectra"),
    ("a path among Spectra", lambda: table([SPECTRA, "a.fits"]), TypeError, "spectra", "str"),
    ("NUL in a path", lambda: table(["a\0.fits"]), ValueError, "spectra", "NUL", "a\\x00"),
    ("a file twice", lambda: table(["a.fits"] * 2), ValueError, "files", "'a.fits' twice"),
    (
        "no file",
        lambda: table(["nowhere.fits"]), FileNotFoundError, "spectra: no file nowhere.fits",
    ),
    (
        "path a file",
        lambda: table(path=HERE / "files.py"),
        ValueError, "path must be the folder", "the file", "files.py",
    ),
    ("path a number", lambda: table(path=5), TypeError, "path", "Path", "5"),
    ("path bytes", lambda: table(path=b"a"), TypeError, "path", "Path", "b'a'"),
    ("path with NUL", lambda: table(path="a\0"), ValueError, "path", "NUL", "a\\x00"),
    ("path a surrogate", lambda: table(path="\ud800"), ValueError, "path", "UTF-8", "\\ud800"),
    ("ids a number", lambda: table(object_ids=5), TypeError, "object_ids", "5", "list"),
    ("ids one number", lambda: table(object_ids=Z[0].long()), TypeError, "object_ids", "0", "list"),
    ("ids a word", lambda: table(object_ids="ab"), TypeError, "object_ids", "'ab'", "list"),
    ("ids bytes", lambda: table(object_ids=b"ab"), TypeError, "object_ids", "b'ab'", "list"),
    ("ids bools", lambda: table(object_ids=Z > 0), TypeError, "object_ids", "text or", "True"),
    ("no ids", lambda: table(object_ids=[]), ValueError, "object_ids", "2", "0"),
    ("an id twice", lambda: table(object_ids=["1", 1]), ValueError, "object_ids", "'1' twice"),
    (
        "an id twice in a stream",
        lambda: table(object_ids=iter("aa")), ValueError, "object_ids", "'a' twice", "leave",
    ),
    (
        "z_spec a word",
        lambda: table(["a.fits"], z_spec={"a.fits": "abc"}),
        TypeError, "z_spec['a.fits']", "numbers", "'abc'",
    ),
    (
        "z_spec None",
        lambda: table(["a.fits"], z_spec={"a.fits": None}), TypeError, "z_spec['a.fits']", "None",
    ),
    *(
        (
            f"z_spec {fault}",
            lambda z=z: table(["a.fits"], z_spec={"a.fits": z}),
            TypeError, "z_spec['a.fits']", *says,
        )
        for fault, z, *says in (
            ("masked", np.ma.masked, "no mask", "leave out"),
            ("masked in a column", MaskedColumn(HIDDEN)[1], "no mask", "MaskedConstant"),
            ("masked by astropy", Masked(HIDDEN)[1], "no mask", "MaskedNDArray"),
            ("masked with a unit", Masked(0.1, True) * units.one, "no mask", "MaskedQuantity"),
            ("a velocity", 900 * units.km / units.s, "no unit", "km / s", ".value"),
            ("True", True, "numbers", "True"),
            ("a tensor of bool", torch.tensor(True), "numbers", "bool"),
        )
    ),
    (
        "z_spec of many",
        lambda: table(["a.fits"], z_spec={"a.fits": Z}), ValueError, "z_spec['a.fits']", "one", "2",
    ),
    (
        "a redshift outside",
        lambda: table(Spectra(GRID, FLUX, FLUX, changed(Z.double(), 0, 0.9), VALID)),
        ValueError, "object 0 has z_spec 0.9", "[0, 0.4]",
    ),
    (
        "a flux that overflows",
        lambda: table(Spectra(GRID, 1e303 * FLUX.double(), FLUX, Z.double(), VALID)),
        ValueError, "object 0", "NaN", "overflowed", "scale its flux down",
    ),
):  # fmt: skip
    case(f"FluxTable.build: {fault}", call, error, *says)
for fault, (one, error, *says) in IDS.items():
    case(
        f"FluxTable.build: an id {fault}",
        lambda x=one: table(object_ids=["b", x]), error, "object_ids must be", *says,
    )  # fmt: skip
case(
    "FluxTable.build: ids masked",
    lambda: table(object_ids=HIDDEN > 0), TypeError, "object_ids must have no mask",
)  # fmt: skip
case(
    "FluxTable.build: ids with a unit",
    lambda: table(object_ids=Column([1, 2], unit="m")),
    TypeError, "object_ids must have no unit", "in m", ".value",
)  # fmt: skip
case(
    "FluxTable.build: ids as FITS has them",
    lambda: table(object_ids=np.array([b"a", b"b"])), TypeError, "object_ids", "b'a'", "decode()",
)  # fmt: skip
case(
    "FluxTable.build: an id one byte too long",
    lambda: table(object_ids=["δ" * 32 + "a", "b"]), ValueError, "object_ids", "64 bytes", "δδ",
)  # fmt: skip
for fault, call, error, *says in (
    ("a row that is not there", lambda: table()[5], IndexError, "index 5", "2 galaxies"),
    ("rows that are not there", lambda: table()[[0, 5]], IndexError, "index 5", "2 galaxies"),
    ("a row that was not found", lambda: table()[[0, -1]], IndexError, "index", "negative", "-1"),
    ("a mask of others", lambda: table()[Z[:1] > 0], IndexError, "mask", "(2,)", "(1,)"),
    ("rows of fractions", lambda: table()[Z], IndexError, "index", "integers", "float32"),
    ("a word for a row", lambda: table()["a"], IndexError, "index", "integers", "'a'"),
    (
        "a mask of the galaxies in another shape",
        lambda: table()[Z.unsqueeze(-1) > 0], IndexError, "mask", "(2,)", "(2, 1)",
    ),
    ("complex rows", lambda: table()[Z * 1j], IndexError, "index", "integers", "complex64"),
    ("bools among rows", lambda: table()[[0, True]], IndexError, "index", "mask", "both"),
    *(
        (
            f"bools among rows, {fault}",
            lambda i=index: table()[i], IndexError, "index", "mask", "both",
        )
        for fault, index in (
            ("in lists", [[True, 0], [1, 0]]),
            ("in a tuple in a list", [(True, 0)]),
            ("a tensor", [torch.tensor(True), 1]),
            ("of NumPy", [np.True_, 1]),
            ("a mask beside rows", [torch.tensor([True, False]), torch.tensor([1, 0])]),
            ("in a deque", deque([True, 1])),
        )
    ),
    *(
        (f"{fault} for rows", lambda i=index: table()[i], IndexError, "index", "integers", got)
        for fault, index, got in (
            ("bytes", b"01", "b'01'"),
            ("a bytearray", bytearray(b"\x01"), "got bytearray"),
            ("a memoryview", memoryview(b"\x01"), "got memoryview"),
            ("bytes in a list", [bytearray(b"\x01")], "got list"),
        )
    ),
    *(
        (f"a slice with {part!r}", lambda p=part: table()[p], IndexError, "index, a slice", "True")
        for part in (slice(True, None), slice(True), slice(0, 2, torch.tensor(True)))
    ),
    ("a row beyond 64 bits", lambda: table()[[0, 2**70]], IndexError, f"index {2**70}", "2 gal"),
    ("a row none can write", lambda: table()[[-(10**5000)]], IndexError, "index int", "2 gal"),
    (
        "an unsigned row too large",
        lambda: table()[np.array([2**63], np.uint64)], IndexError, f"index {2**63}", "2 galaxies",
    ),
    (
        "quantized rows",
        lambda: table()[quantized(Z)],
        IndexError, "index", "integers", "qint8",
    ),
    ("sparse rows", lambda: table()[ROWS.to_sparse()], TypeError, "index", "dense", "to_dense()"),
    ("rows without values", lambda: table()[ROWS.to("meta")], TypeError, "index", "values", "meta"),
    ("rows masked", lambda: table()[HIDDEN > 0], TypeError, "index", "mask", "index.compressed()"),
    ("a list that holds itself", lambda: table()[ENDLESS], TypeError, "index", "holds itself"),
    ("a tuple", lambda: table()[0, 1], TypeError, "index", "a tuple of 2", "table[[0, 1]]"),
    ("a slice to a word", lambda: table()[slice("a")], IndexError, "index", "slice", "'a'"),
    ("a slice of step 0", lambda: table()[::0], IndexError, "index", "slice", "0"),
):  # fmt: skip
    case(f"FluxTable: {fault}", call, error, *says)
case(
    "FluxTable.load: no file",
    lambda: FluxTable.load(HERE / "nowhere"), FileNotFoundError, "nowhere",
)  # fmt: skip
for fault, call, error, *says in (
    ("load: a file", lambda: FluxTable.load(HERE / "files.py"), ValueError, "path", "the file"),
    ("load: a number", lambda: FluxTable.load(5), TypeError, "path", "Path", "5"),
    ("load: None", lambda: FluxTable.load(None), TypeError, "path", "Path", "None"),
    ("load: NUL", lambda: FluxTable.load("a\0"), ValueError, "path", "NUL"),
    ("load: bins", lambda: FluxTable.load(HERE, bins=Z), TypeError, "bins", "RedshiftBins"),
    ("load: filters", lambda: FluxTable.load(HERE, filters="g"), TypeError, "filters", "'g'"),
    ("load: mmap", lambda: FluxTable.load(HERE, mmap="r"), TypeError, "mmap", "'r'"),
    ("save: a number", lambda: table().save(5), TypeError, "path", "Path", "5"),
    ("save: None", lambda: table().save(None), TypeError, "path", "Path", "None"),
):
    case(f"FluxTable.{fault}", call, error, *says)
case(
    "FluxTable.save: not new",
    lambda: table().save(HERE), FileExistsError, "exists: delete it",
)  # fmt: skip
