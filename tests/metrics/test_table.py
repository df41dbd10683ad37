"""Results shown as tables, and still dicts for whatever takes one."""

import copy
import io
import pickle
from html.parser import HTMLParser

import pytest
import torch

from photoz_losses import RedshiftBins
from photoz_losses.metrics import (
    MAD,
    Bias,
    Binned,
    PerBin,
    PITStatistics,
    binned,
    mad,
    photo_z_metrics,
    pit_statistics,
)
from photoz_losses.metrics._table import MetricTable

BINS = RedshiftBins.uniform(0.0, 0.4, 4)
Z = torch.tensor([0.05, 0.10, 0.30, 0.90])


def collection():
    metrics = photo_z_metrics(BINS)
    probs = torch.tensor([[0.2, 0.6, 0.2, 0.0], [0.0, 0.1, 0.8, 0.1]])
    metrics.update(probs=probs, z_spec=torch.tensor([0.15, 0.15]))
    return metrics


RESULTS = {
    "collection": lambda: collection().compute(),
    "forward": lambda: photo_z_metrics(BINS)(
        probs=torch.full((3, 4), 0.25), z_spec=torch.tensor([0.1, 0.2, 0.3])
    ),
    "pit_statistics": lambda: pit_statistics(torch.linspace(0.1, 0.9, 9)),
    "PITStatistics": lambda: PITStatistics(BINS)(torch.full((3, 4), 0.25), Z[:3]),
    "approximate": lambda: PITStatistics(BINS, approximate=50)(torch.full((3, 4), 0.25), Z[:3]),
    "Binned": lambda: Binned(Bias(), [0.0, 0.2, 0.4])(Z + 0.01, Z, by=Z),
}


class Cells(HTMLParser):
    """Texts of the rows of a table."""

    def __init__(self, text):
        super().__init__()
        self.rows = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        self.rows[-1].append(data)


@pytest.mark.parametrize("result", RESULTS)
def test_results_are_dicts_and_tables(result):
    table = RESULTS[result]()
    assert isinstance(table, dict)
    assert len(repr(table).splitlines()) == len(table)
    rows = Cells(table._repr_html_()).rows
    assert [row[0] for row in rows] == list(table)
    assert [line.split() for line in repr(table).splitlines()] == rows, "the same cells"


def test_numbers_are_those_of_the_dict_and_aligned():
    table = MetricTable(mad=torch.tensor(0.0123456), long_name=-2.5, galaxies=torch.tensor(1200))
    assert repr(table) == (
        "mad        0.012346\n"  # five digits, to the right
        "long_name      -2.5\n"
        "galaxies       1200"
    )
    assert str(table) == repr(table)


def test_long_vectors_lose_their_middle_and_matrices_their_entries():
    table = MetricTable(x=torch.arange(20), y=torch.zeros(2, 3), z=torch.arange(10))
    x, y, z = (line.split() for line in repr(table).splitlines())
    assert x == ["x", *["0", "1", "2", "3", "4", "...", "15", "16", "17", "18", "19"]]
    assert y == ["y", "shape", "(2,", "3)"]
    assert z == ["z", *["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]]


def test_mappings_of_numbers_have_columns_and_tables_stand_under_their_name():
    inner = MetricTable(mad={"value": 0.1, "error": 0.02}, bias={"value": 0.5, "error": None})
    assert repr(MetricTable(galaxies=3, metrics=inner)).splitlines() == [
        "galaxies      3",
        "metrics   value  error",
        "  mad       0.1   0.02",
        "  bias      0.5      -",
    ]
    assert repr(inner).splitlines()[0].split() == ["value", "error"]
    assert Cells(inner._repr_html_()).rows[0] == ["value", "error"]
    assert repr(MetricTable(bins={"number": 4}, by={"r": {}})).splitlines() == [
        "bins  number 4",
        "by           r",
    ]
    assert repr(MetricTable()) == "{}"


def test_names_are_escaped_in_html():
    text = MetricTable({"<b>&": 1.0, "x": "<script>"})._repr_html_()
    assert "<b>" not in text
    assert "<script>" not in text
    assert Cells(text).rows == [["<b>&", "1"], ["x", "<script>"]]


def test_values_in_bins_are_a_table():
    result = binned(mad, Z + 0.01, Z, by=Z, edges=[0.0, 0.2, 0.4], n_boot=20)
    assert isinstance(result, PerBin)
    rows = [line.split() for line in repr(result).splitlines()]
    assert [row[0] for row in rows] == ["value", "error", "count", "outside"]
    assert rows[2:] == [["count", "2", "1"], ["outside", "1"]]
    assert Cells(result._repr_html_()).rows == rows
    named = binned(pit_statistics, torch.tensor([0.1, 0.5, 0.7, 0.9]), by=Z, edges=[0.0, 0.2, 0.4])
    assert repr(named).splitlines()[0].split() == ["ks", *(f"{x:.5g}" for x in named.value["ks"])]


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_hold_the_same(again):
    table = RESULTS["pit_statistics"]()
    other = again(table)
    assert isinstance(other, dict)
    assert list(other) == list(table)
    assert all(torch.equal(other[name], table[name]) for name in table)


def test_a_saved_result_needs_no_class_of_this_library():
    file = io.BytesIO()
    torch.save(RESULTS["collection"](), file)
    file.seek(0)
    assert dict(torch.load(file, weights_only=True)) == dict(RESULTS["collection"]())


def test_a_collection_of_others_takes_the_table_for_the_dict_that_it_is():
    from torchmetrics import MetricCollection

    both = MetricCollection({"pit": PITStatistics(BINS), "mad": MAD()})
    both["pit"].update(torch.full((3, 4), 0.25), Z[:3])
    both["mad"].update(Z, Z)
    assert {"ks", "kl_pvalue", "mad"} <= set(both.compute())
    assert copy.deepcopy(collection()).compute() == collection().compute()
