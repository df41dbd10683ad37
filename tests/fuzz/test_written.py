"""Of valid predictions and columns, whatever they are: a report of two files that say the same."""

import json
import math
from html.parser import HTMLParser

import pytest
import torch
from fuzz.examples import NIGHTLY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib import pyplot
from strategies import graded

from photoz_losses import metrics
from photoz_losses.plots.binned import LARGEST
from photoz_losses.report import write_report

REPORTS = 15  # each takes seconds
NAMES = st.text(st.characters(max_codepoint=0xFF, categories=("L", "N", "P", "S")), min_size=1)
VALUES = st.one_of(
    st.floats(-1e4, 1e4),
    st.floats(-LARGEST, LARGEST),
    st.sampled_from([0.0, float("nan"), float("inf"), LARGEST, 5e-324]),
)


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@st.composite
def reports(draw):
    """Arguments of `write_report` but for its folder."""
    bins, probs, z_spec = draw(graded())
    columns = hnp.arrays(float, len(probs), elements=VALUES).map(torch.from_numpy)
    known = columns.filter(lambda column: bool(column.isfinite().any()))
    by = draw(st.dictionaries(NAMES.filter(lambda name: name != "redshift"), known, max_size=2))
    options = {
        "preset": draw(st.sampled_from(sorted(metrics.PRESETS))),
        "n_boot": draw(st.integers(2, 5)),
        "seed": draw(st.integers(0, 2**32)),
    }
    return {"probs": probs, "z_spec": z_spec, "bins": bins, "by": by or None, **options}


def numbers_of(value):
    """Every number in what JSON holds."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers_of(one)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.skipif(not NIGHTLY, reason="takes minutes: in the nightly profile")
def test_a_report_is_two_whole_files(examples_run, tmp_path_factory):
    @settings(max_examples=REPORTS, suppress_health_check=list(HealthCheck))
    @given(reports())
    def law(given_ones):
        examples_run()
        pyplot.close("all")
        folder = tmp_path_factory.mktemp("report") / "new"
        numbers = write_report(**given_ones, output=folder)
        assert {file.name for file in folder.iterdir()} == {"report.html", "report.json"}
        assert json.loads((folder / "report.json").read_text("utf-8")) == numbers
        assert all(map(math.isfinite, numbers_of(numbers)))
        assert numbers["galaxies"] == len(given_ones["probs"])
        page = Page((folder / "report.html").read_text("utf-8"))
        assert page.open == []
        assert {"html", "img", "table"} <= page.tags
        assert "script" not in page.tags
        for name in given_ones["by"] or ():
            assert any(name in text for text in page.text)
        assert not pyplot.get_fignums()

    law()
