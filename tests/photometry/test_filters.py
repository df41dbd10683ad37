import hashlib
import struct
from enum import Enum

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.table import Column, Table
from hypothesis import given
from photometry.spectroscopy import filter_sets
from speclite.filters import load_filter

from photoz_losses.photometry import FilterSet, SyntheticPhotometry

X, Y = [5000.0, 5500.0, 6000.0], [0.0, 1.0, 0.0]


def test_speclite_names_give_speclites_curves():
    filters = FilterSet.from_speclite("sdss2010-*")
    assert filters.names == tuple(f"sdss2010-{band}" for band in "ugriz")
    for name, wavelength, response in zip(
        filters.names, filters.wavelengths, filters.responses, strict=True
    ):
        curve = load_filter(name)
        assert np.array_equal(wavelength.numpy(), curve.wavelength)
        assert np.array_equal(response.numpy(), curve.response)


def test_speclite_names_may_be_several_and_keep_their_order():
    filters = FilterSet.from_speclite("lsst2023-r", "sdss2010-g")
    assert filters.names == ("lsst2023-r", "sdss2010-g")
    assert len(filters) == 2


def test_an_unknown_speclite_name_is_named():
    with pytest.raises(ValueError, match="nope"):
        FilterSet.from_speclite("nope-r")


@given(filter_sets())
def test_own_curves_are_kept_as_given(filters):
    again = FilterSet(filters.names, filters.wavelengths, filters.responses)
    assert again.names == filters.names
    assert all(map(torch.equal, again.wavelengths, filters.wavelengths))
    assert all(map(torch.equal, again.responses, filters.responses))


@pytest.mark.parametrize("unit", [u.nm, u.micron, u.m])
def test_quantities_are_converted_to_angstrom(unit):
    expected, given = torch.tensor(X, dtype=torch.float64), (X * u.Angstrom).to(unit)
    wavelengths = {
        "a Quantity": [given],
        "Quantities": [list(given)],
        "a Column": [Column(given.value, unit=unit)],
        "a Column of rows": Column([given.value], unit=unit),
    }
    for kind, curves in wavelengths.items():
        filters = FilterSet(["a"], curves, [Y])
        assert torch.allclose(filters.wavelengths[0], expected, rtol=1e-14), kind
        if kind != "a Column of rows":
            grid = SyntheticPhotometry(filters, curves[0]).wavelength
            assert torch.allclose(grid, expected, rtol=1e-14), kind


def test_a_filter_in_a_fits_table_is_read_in_its_own_unit(tmp_path):
    Table({"wave": (X * u.Angstrom).to(u.nm), "r": 100 * np.array(Y)}).write(tmp_path / "r.fits")
    table = Table.read(tmp_path / "r.fits")
    assert table["wave"].unit == u.nm
    filters = FilterSet(["r"], [table["wave"]], [table["r"]])
    assert torch.allclose(filters.wavelengths[0], torch.tensor(X, dtype=torch.float64), rtol=1e-14)


class OfAnother(np.ndarray):
    """As unyt's arrays are, in nm."""

    units = "nm"

    def to_value(self, unit):
        assert unit == "Angstrom"
        return 10 * np.asarray(self)


def test_another_packages_arrays_are_asked_for_their_unit_too():
    given = (np.array(X) / 10).view(OfAnother)
    assert FilterSet(["a"], [given], [Y]).wavelengths[0].tolist() == pytest.approx(X, rel=1e-15)


Band = Enum("Band", {"G": "g"}, type=str)  # a str that str() calls "Band.G"


def test_the_name_of_a_filter_is_its_text_whatever_the_class():
    assert FilterSet([Band.G], [X], [Y]).digest == FilterSet(["g"], [X], [Y]).digest
    assert repr(FilterSet([Band.G], [X], [Y])) == repr(FilterSet(["g"], [X], [Y]))


def test_shares_and_per_cent_are_numbers():
    percent = Column(100 * np.array(Y), unit="percent")
    for responses in (percent, percent.quantity, list(percent.quantity)):
        assert FilterSet(["a"], [X], [responses]).responses[0].tolist() == Y


@pytest.mark.parametrize(
    "make", [list, tuple, np.array, torch.tensor, lambda y: np.array(y, dtype=np.float32)]
)
def test_any_vector_is_taken_and_kept_in_float64(make):
    filters = FilterSet(["a"], [make(X)], [make(Y)])
    assert filters.wavelengths[0].dtype == filters.responses[0].dtype == torch.float64
    assert filters.responses[0].tolist() == Y


def test_arrays_that_must_not_be_written_to_are_taken():
    # as memory-mapped files and cached tables are
    x, y = np.array(X), np.array(Y)
    x.setflags(write=False)
    y.setflags(write=False)
    assert FilterSet(["a"], [x], [y]).responses[0].tolist() == Y


def test_a_later_change_of_the_callers_array_changes_nothing():
    x, y = np.array(X), np.array(Y)
    filters = FilterSet(["a"], [x], [y])
    x[:], y[:] = 0, 0
    assert filters.wavelengths[0].tolist() == X
    assert filters.responses[0].tolist() == Y


def test_repr_names_every_band_with_its_range():
    filters = FilterSet(["a", "b"], [X, [3000.0, 3500.5]], [Y, [1.0, 1.0]])
    assert repr(filters) == "FilterSet(a 5000-6000 A, b 3000-3500.5 A)"


@pytest.mark.parametrize(
    ("names", "wavelengths", "responses", "message"),
    [
        (
            "ab",
            [X, X],
            [Y, Y],
            "names, wavelengths and responses .* one entry a band, at least one; got .ab'",
        ),
        ([], [], [], "names, wavelengths and responses .* at least one"),
        (
            ["a", "b"],
            [X],
            [Y],
            r"names, wavelengths and responses must be as many.*\['a', 'b'\], 1",
        ),
        (["a"], [X], [Y, Y], "names, wavelengths and responses must be as many.* 1 and 2"),
        (["a", "a"], [X, X], [Y, Y], "names must all be different, got a, a"),
        (["a"], [X[::-1]], [Y], "wavelengths of a must increase strictly.*6000.*5500.*sort it"),
        (["a"], [[5000, 5500, 5500]], [Y], "wavelengths of a must .*index 1.*drop repeated"),
        (["a"], [[5000, np.nan, 6000]], [Y], "wavelengths of a must be finite.*drop"),
        (["a"], [[5000.0]], [[1.0]], "wavelengths of a must be a vector of at least 2"),
        (["a"], [[X]], [Y], r"wavelengths of a must be a vector.*\(1, 3\)"),
        (["a"], [[-1.0, 0.0, 1.0]], [Y], "wavelengths of a must be positive, in Angstrom"),
        (["a"], [X], [[0.0, 1.0]], r"responses of a must have the shape \(3,\).*got \(2,\)"),
        (["a"], [X], [[0.0, -1.0, 2.0]], "responses of a .*not negative.*cut the curve"),
        (["a"], [X], [[0.0, np.nan, 0.0]], "responses of a must be finite.*cut the curve"),
        (["a"], [X], [[0.0, np.inf, 0.0]], "responses of a must be finite.*cut the curve"),
        (["a"], [X], [[0.0, 0.0, 0.0]], "responses of a .*positive somewhere"),
        (["good", "bad"], [X, X[::-1]], [Y, Y], "wavelengths of bad"),
    ],
)
def test_bad_curves_are_named_with_the_mend(names, wavelengths, responses, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        FilterSet(names, wavelengths, responses)


def test_a_quantity_that_is_no_length_is_refused():
    with pytest.raises(TypeError, match=r"wavelengths of a must be in Angstrom, got .* Hz"):
        FilterSet(["a"], [X * u.Hz], [Y])


# Digest ------------------------------------------------------------------------------------------


def test_equal_sets_have_equal_digests_of_64_hexadecimal_digits():
    one, same = FilterSet(["a"], [X], [Y]), FilterSet(("a",), [torch.tensor(X)], [list(Y)])
    assert one.digest == same.digest
    assert len(bytes.fromhex(one.digest)) == 32


def test_the_digest_is_the_same_on_every_machine():
    # by hand: sha256(b"1 2 a" + the four numbers, little-endian)
    one = FilterSet(["a"], [[5000.0, 6000.0]], [[1.0, 1.0]])
    raw = b"1 2 a" + struct.pack("<4d", 5000.0, 6000.0, 1.0, 1.0)
    assert one.digest == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        FilterSet(["b"], [X], [Y]),
        FilterSet(["a"], [[np.nextafter(X[0], 0), *X[1:]]], [Y]),
        FilterSet(["a"], [X], [[*Y[:-1], np.nextafter(Y[-1], 2)]]),
        FilterSet(["a", "b"], [X, X], [Y, Y]),
        FilterSet(["a"], [X[:-1]], [Y[:-1]]),
    ],
    ids=["name", "wavelength by one ulp", "response by one ulp", "one more", "one knot less"],
)
def test_the_digest_changes_with_every_bit(other):
    assert other.digest != FilterSet(["a"], [X], [Y]).digest


def test_the_order_of_the_bands_is_part_of_the_digest():
    one = FilterSet(["a", "b"], [X, [4000.0, *X]], [Y, [0.0, *Y]])
    assert one.digest != FilterSet(["b", "a"], [[4000.0, *X], X], [[0.0, *Y], Y]).digest
