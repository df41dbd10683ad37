"""Table 2 in its files, and what overrides it."""

import re

import pytest
import yaml
from config import GROUPS, Config, convert, group_config, plain
from train_resnet50 import arguments

TABLE_2 = {
    "lr": 1e-3,
    "batch": 128,
    "epochs": 50,
    "optimiser": "adam",
    "schedule": "plateau",
    "schedule_factor": 0.1,
    "schedule_patience": 2,
    "gamma_l2": 1e-6,
}
APPENDIX_B4 = {"stem": "paper", "initialisation": "he", "bin_factor": 1, "network": "resnet50"}
SPLITS = {"test": 0.2, "validation": 20_000, "galaxies": None, "bins": 180}


@pytest.mark.parametrize("group", GROUPS)
def test_the_papers_preset_is_table_2_and_appendix_b4(group):
    values = vars(group_config(group, "paper"))
    assert values.items() >= (TABLE_2 | APPENDIX_B4 | SPLITS).items()
    gamma = 0.1 if group == "constrained" else 0.0
    assert {values[f"gamma_{term}"] for term in ("flux", "invariance", "cde")} == {gamma}
    assert values["augmented"] == (group == "augmented")


def test_minutes_change_sizes_and_no_weight():
    paper, minutes = (vars(group_config("constrained", preset)) for preset in ("paper", "minutes"))
    changed = {name for name, value in minutes.items() if value != paper[name]}
    sizes = {"galaxies", "epochs", "batch"}
    assert changed == sizes | {"schedule", "stem", "bin_factor", "initialisation"}


def test_the_command_line_overrides_any_value():
    given = ["--lr", "1e-4", "--gamma-cde", "0", "--galaxies", "none", "--detach", "true"]
    options, overrides = arguments(["--preset", "paper", *given])
    config = group_config("constrained", options.preset, **overrides)
    assert (config.lr, config.gamma_cde, config.galaxies, config.detach) == (1e-4, 0.0, None, True)
    assert config.epochs == 50


def test_a_written_configuration_reads_back_the_same(tmp_path):
    config = group_config("constrained", lr="3e-4", path="somewhere/sdss.npz", steps=7)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(plain(config)))
    assert Config.read(tmp_path / "mine.yaml") == config
    assert group_config(str(tmp_path / "mine.yaml"), "paper", seed=4).seed == 4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gama_cde", 0.1, "unknown option 'gama_cde': did you mean 'gamma_cde'?"),
        ("lr", "fast", "lr must be of type float, got 'fast'"),
        ("epochs", 2.5, "epochs must be of type int, got 2.5"),
        ("stem", "papers", "stem must be one of torchvision, paper, got 'papers'"),
        ("detach", "yes", "detach must be true or false, got 'yes'"),
    ],
)
def test_what_is_no_option_or_no_value_of_it_is_refused(name, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        convert(name, value)


@pytest.mark.parametrize(
    "values",
    [
        {"batch": 1},
        {"epochs": 0},
        {"batch": 30, "accumulate": 4},
        {"batch": 4, "devices": 4},
        {"precision": "fp16", "device": "cpu"},
        {"timeout": 0.0},
    ],
)
def test_values_that_could_train_nothing_are_refused(values):
    (name, _), *_ = values.items()
    with pytest.raises(ValueError, match=f"^{name}"):
        group_config("baseline", **values)


def test_an_unknown_option_of_the_command_names_the_nearest(capsys):
    with pytest.raises(SystemExit):
        arguments(["--gama-cde", "1"])
    assert "did you mean --gamma-cde?" in capsys.readouterr().err


def test_a_file_that_holds_no_values_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("- lr\n")
    with pytest.raises(ValueError, match="must hold lines 'name: value'"):
        Config.read(tmp_path / "a.yaml")
