"""The report: the numbers are the functions', the page stands alone, a bad file is named."""

import errno
import json
import os
import runpy
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from photoz_losses import RedshiftBins, metrics
from photoz_losses.io import save_predictions
from photoz_losses.report import write_report
from photoz_losses.report.__main__ import main
from photoz_losses.report.pictures import _gallery

BINS = RedshiftBins.log1p(0.0, 3.0, 40)
COLUMN = "<b>r $x_$"  # a dangerous name: neither HTML nor mathematics


def predictions(galaxies=120):
    generator = torch.Generator().manual_seed(3)
    draws = torch.rand(3, galaxies, generator=generator, dtype=torch.float64)
    z_spec = 0.1 + 2 * draws[0]
    centre = z_spec + 0.2 * (draws[1] - 0.5)
    probs = (-((BINS.centers - centre.unsqueeze(-1)) / 0.08).square() / 2).softmax(-1)
    return probs, z_spec, 18 + 4 * draws[2]


class Page(HTMLParser):
    """What the test looks at: tags, attributes that could fetch something, and the numbers."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.sources, self.rows, self.words = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        attrs = dict(attrs)
        self.sources += [attrs[name] for name in ("src", "href") if name in attrs]
        self.words += [attrs["alt"]] if "alt" in attrs else []
        if tag == "tr":
            self.rows.append([])
        if tag == "data":
            self.rows[-1].append(float(attrs["value"])) if self.rows else None
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def refuse(token):
    raise AssertionError(f"{token} is not JSON")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of a report that the command line made."""
    folder = tmp_path_factory.mktemp("report")
    probs, z_spec, magnitude = predictions()
    magnitude[0] = torch.nan
    save_predictions(folder / "p.npz", probs, BINS, z_spec, **{COLUMN: magnitude})
    main([*map(str, arguments(folder))])
    return folder / "out"


def arguments(folder, out="out"):
    options = ["--preset", "euclid", "--magnitude", COLUMN, "--n-boot", 20]
    return [folder / "p.npz", "--output", folder / out, *options]


def test_the_json_is_strict_and_its_numbers_are_the_functions(written):
    numbers = json.loads((written / "report.json").read_text(), parse_constant=refuse)
    probs, z_spec, _ = predictions()
    z_phot = BINS.median(probs)
    expected = {
        "mad": metrics.mad(z_phot, z_spec, centered=True),
        "bias": metrics.bias(z_phot, z_spec),
        "outlier_rate": metrics.outlier_rate(z_phot, z_spec, threshold=0.15),
        "sigma_iqr": metrics.sigma_iqr(z_phot, z_spec),
        "rms": metrics.rms(z_phot, z_spec),
        "cde_loss": metrics.cde_loss(probs, z_spec, BINS),
        "crps": metrics.crps(probs, z_spec, BINS),
        "log_score": metrics.log_score(probs, z_spec, BINS),
        "brier": metrics.brier(probs, z_spec, BINS),
        "entropy": metrics.entropy(probs, BINS),
        "coverage_68": metrics.coverage(probs, z_spec, BINS, level=0.68),
        "coverage_95": metrics.coverage(probs, z_spec, BINS, level=0.95),
    }
    assert set(numbers["metrics"]) == set(expected)
    for name, value in expected.items():
        assert numbers["metrics"][name]["value"] == pytest.approx(value.item(), rel=1e-12), name
        error = numbers["metrics"][name]["error"]
        fraction = name.startswith(("outlier", "coverage"))
        assert error is None if fraction and value in (0, 1) else error > 0, name
    assert numbers["metrics"]["outlier_rate"] == {"value": 0, "error": None}
    share = numbers["metrics"]["coverage_68"]
    binomial = (share["value"] * (1 - share["value"]) / 120) ** 0.5
    assert share["error"] == pytest.approx(binomial)
    statistics = metrics.pit_statistics(metrics.pit(probs, z_spec, BINS))
    assert numbers["pit"] == pytest.approx({k: v.item() for k, v in statistics.items()})
    curve = numbers["coverage"]
    exact = metrics.coverage(probs, z_spec, BINS, level=curve["level"])
    assert curve["central"] == pytest.approx(exact.tolist())


def test_every_galaxy_is_in_one_bin_of_redshift_and_nan_in_none(written):
    by = json.loads((written / "report.json").read_text())["by"]
    assert (sum(by["redshift"]["count"]), by["redshift"]["outside"]) == (120, 0)
    assert (sum(by[COLUMN]["count"]), by[COLUMN]["outside"]) == (119, 1)
    probs, z_spec, _ = predictions()
    crps = metrics.crps(probs, z_spec, BINS, reduction="none")
    low, high = by["redshift"]["edges"][2:4]
    rows = (z_spec > low) & (z_spec <= high)
    values = by["redshift"]["metrics"]["crps"]["value"]
    assert values[2] == pytest.approx(crps[rows].mean().item())
    assert len(values) == 8


def test_the_page_is_whole_and_needs_nothing_else(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "script" not in page.seen
    assert len(page.sources) == page.seen.count("img") == 2 + 1 + 2 + 4 + 4 + 6
    assert len(page.words) == len(set(page.words)) == len(page.sources), "each picture is described"
    assert sum(COLUMN in words for words in page.words) == 4
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.sources)
    assert "http" not in text.split("<body>")[0].replace("http-equiv", "")
    assert "@import" not in text
    assert "url(" not in text


def test_the_page_shows_the_numbers_of_the_json(written):
    numbers = json.loads((written / "report.json").read_text())
    rows = Page((written / "report.html").read_text(encoding="utf-8")).rows
    shown = [[cell for cell in row if isinstance(cell, float)] for row in rows]
    for metric in numbers["metrics"].values():
        assert [number for number in metric.values() if number is not None] in shown
    for name in ("ks", "cvm", "ad", "kl"):
        assert [numbers["pit"][name], numbers["pit"][f"{name}_pvalue"]] in shown
    for table in numbers["by"].values():
        assert table["count"] in shown
        for metric in table["metrics"].values():
            assert metric["value"] in shown


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes_in_another_process_too(written, tmp_path):
    probs, z_spec, magnitude = predictions()
    magnitude[0] = torch.nan
    write_report(probs, z_spec, BINS, tmp_path, by={COLUMN: magnitude}, preset="euclid", n_boot=20)
    command = [sys.executable, "-W", "error", "-m", "photoz_losses.report"]
    command += map(str, arguments(written.parent, "again"))
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(written.parent / "again" / "report.html")
    for name in ("report.json", "report.html"):
        first = (written / name).read_bytes()
        assert (tmp_path / name).read_bytes() == first
        assert (written.parent / "again" / name).read_bytes() == first


def test_names_of_columns_are_escaped(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "&lt;b&gt;r" in text


def test_what_is_infinite_or_undefined_is_null_and_one_galaxy_is_enough(tmp_path):
    probs = torch.eye(40, dtype=torch.float64)[:1]
    z_spec = torch.tensor([1.0])
    numbers = write_report(probs, z_spec, BINS, tmp_path, preset="rail", n_boot=5)
    assert numbers["metrics"]["log_score"]["value"] is None
    assert numbers["pit"]["ad"] is None
    text = (tmp_path / "report.json").read_text()
    assert json.loads(text, parse_constant=refuse) == numbers
    assert Page((tmp_path / "report.html").read_text(encoding="utf-8")).open == []


def test_an_earlier_report_outlives_a_disk_that_is_full(tmp_path, monkeypatch):
    """Neither file is opened under its own name, where half of it would stay."""
    for name in ("report.json", "report.html"):
        (tmp_path / name).write_text("earlier")

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("photoz_losses.report.take_numbers", lambda *args, **kwargs: {"new": 1})
    monkeypatch.setattr("photoz_losses.report.draw_pictures", lambda *args: {})
    monkeypatch.setattr("photoz_losses.report.write_page", lambda *args: "new")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_report(*predictions(2)[:2], BINS, tmp_path)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys(
        ("report.json", "report.html"), "earlier"
    )
    write_report(*predictions(2)[:2], BINS, tmp_path)
    assert (tmp_path / "report.html").read_text() == "new"


@pytest.mark.parametrize(
    ("galaxies", "ranks"), [(1, [1]), (4, [1, 2, 3, 4]), (101, [1, 21, 41, 61, 81, 101])]
)
def test_the_gallery_says_the_rank_of_the_galaxy_that_it_draws(galaxies, ranks):
    probs, z_spec, _ = predictions(galaxies)
    crps = metrics.crps(probs, z_spec, BINS, reduction="none").sort()
    axes = _gallery(probs, z_spec, BINS)
    titles = [ax.get_title() for ax in axes]
    assert titles == [f"{rank} of {galaxies} in order of CRPS" for rank in ranks]
    for ax, rank in zip(axes, ranks, strict=True):
        assert ax.lines[0].get_xdata()[0] == pytest.approx(z_spec[crps.indices[rank - 1]].item())


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({"z_spec": None}, [], "lacks z_spec, the true redshifts"),
        ({"z_spec": torch.full((30,), 9.0)}, [], "z_spec must lie in"),
        ({"z_spec": torch.full((30,), torch.nan)}, [], "z_spec must lie in"),
        ({}, ["--magnitude", "i"], "lacks i; its columns: r"),
        ({"r": torch.full((30,), torch.nan)}, ["--magnitude", "r"], "by['r'] must have"),
        ({}, ["--n-boot", "1"], "n_boot must be at least 2"),
    ],
)
def test_a_file_or_an_option_that_will_not_do_is_named_without_a_traceback(
    tmp_path, capsys, change, options, says
):
    probs, z_spec, magnitude = predictions(30)
    given = {"z_spec": z_spec, "r": magnitude} | change
    save_predictions(tmp_path / "p.npz", probs, BINS, **given)
    arguments = [str(tmp_path / "p.npz"), "--output", str(tmp_path / "out"), *options]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("python -m photoz_losses.report: error: ")
    assert not (tmp_path / "out").exists()


def test_a_file_without_probs_ends_the_program_with_code_2(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "p.npz", edges=BINS.edges.numpy(), z_spec=[0.1])
    words = ["report", str(tmp_path / "p.npz"), "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.delitem(sys.modules, "photoz_losses.report.__main__")
    with pytest.raises(SystemExit) as end:
        runpy.run_module("photoz_losses.report", run_name="__main__")
    assert end.value.code == 2
    assert "lacks probs: it has edges, z_spec" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("photoz_losses.report.take_numbers", None)
    probs, z_spec, _ = predictions(5)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        write_report(probs, z_spec, BINS, tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="file"):
        write_report(probs, z_spec, BINS, tmp_path / "file" / "below")


def test_no_galaxies_or_an_unknown_preset_are_refused(tmp_path):
    with pytest.raises(ValueError, match="probs must have shape"):
        write_report(torch.empty(0, 40), torch.empty(0), BINS, tmp_path)
    probs, z = torch.full((3, 40), 1 / 40), torch.tensor([0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="by must have other names than 'redshift'"):
        write_report(probs, z, BINS, tmp_path, by={"redshift": z})
    probs, z_spec, _ = predictions(5)
    with pytest.raises(ValueError, match="preset must be one of 'paper', 'pasquet'"):
        write_report(probs, z_spec, BINS, tmp_path, preset="sdss")


def test_the_rail_preset_draws_a_sample_whose_threshold_lies_beyond_1(tmp_path):
    """3 sigma_IQR of a network that knows nothing."""
    _, z_spec, _ = predictions(40)
    probs = torch.eye(len(BINS), dtype=torch.float64)[torch.arange(len(z_spec)) % len(BINS)]
    numbers = write_report(probs, z_spec, BINS, tmp_path, preset="rail", n_boot=5)
    assert 3 * numbers["metrics"]["sigma_iqr"]["value"] > 1
    assert (tmp_path / "report.html").exists()
