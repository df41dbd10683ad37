"""Every value of a run: read from YAML, overridden by the command line, checked, written down."""

import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

import yaml

FOLDER = Path(__file__).parent / "configs"
GROUPS = ("baseline", "augmented", "constrained")


@dataclass(frozen=True)
class Config:
    """All values of a run; `configs/` has the paper's, and what "minutes" changes in them.

    A weight of zero leaves its term out. ``batch`` galaxies make one step of the optimiser, on
    however many ``devices`` and in however many parts (``accumulate``).
    """

    augmented: bool = False  # train on a random view of each image
    gamma_l2: float = 1e-6
    gamma_flux: float = 0.0
    gamma_invariance: float = 0.0  # a second, random view of each image
    gamma_cde: float = 0.0
    gamma_crps: float = 0.0
    detach: bool = False  # no gradient through the second view
    lr: float = 1e-3
    batch: int = 128
    epochs: int = 50
    steps: int | None = None  # stop after so many, whatever the epochs
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    schedule: Literal["plateau", "onecycle", "constant"] = "plateau"
    schedule_factor: float = 0.1  # of plateau
    schedule_patience: int = 2  # epochs, of plateau
    network: Literal["resnet50", "small"] = "resnet50"
    stem: Literal["torchvision", "paper"] = "paper"
    bin_factor: int = 1  # pixels summed along each side before the network
    initialisation: Literal["he", "zero"] = "he"  # of the residual blocks
    bins: int = 180  # on [0, z_max]
    z_max: float = 0.4
    data: Literal["rendered", "pasquet", "hayat", "cutouts"] = "rendered"
    path: Path | None = None  # of the data's file or folder; rendered galaxies need none
    spectra: Path | None = None  # table of flux residuals; rendered galaxies need none
    galaxies: int | None = None  # how many; None: all
    side: int = 64  # pixels, of the crop of larger images
    jitter: int = 0  # pixels, by which the crop moves in training
    test: float = 0.2
    validation: int = 20_000
    split_seed: int = 0
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    nodes: int = 1
    timeout: float = 1800.0  # seconds that a rank waits for the others, before it stops
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: int = 1
    workers: int = 0  # processes that read images, beside the one that trains
    compile: bool = False
    channels_last: bool = False
    checkpoint_steps: int = 500
    log_steps: int = 10
    gradient_norm_steps: int = 0  # 0: never; a backward pass for each term

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "accumulate", "devices", "nodes", "bins", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        parts = self.accumulate * self.devices * self.nodes
        if self.batch % parts or self.batch // parts < 2:
            raise ValueError(
                f"batch must be a multiple of accumulate x devices x nodes = {parts}, and give "
                f"each part at least 2 galaxies (BatchNorm), got {self.batch}"
            )
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision fp16 needs a GPU: use bf16 on a CPU")
        if not 0 < self.timeout < float("inf"):
            raise ValueError(f"timeout must be positive and finite, got {self.timeout}")

    @classmethod
    def read(cls, *paths: str | Path, **overrides: Any) -> Self:
        """Values of YAML files, later ones first, under the overrides."""
        values: dict[str, Any] = {}
        for path in paths:
            values |= read_lines(Path(path))
        values |= overrides
        return cls(**{name: convert(name, value) for name, value in values.items()})


def read_lines(path: Path) -> dict[str, Any]:
    """Names and plain values of a YAML file, in which no object is made and no list unfolded."""
    try:
        content = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML of plain values: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold lines 'name: value', got a {type(content).__name__}")
    for name, value in content.items():
        if isinstance(value, dict | list):
            raise ValueError(f"{path}: {name} must be one value, got a {type(value).__name__}")
    return content


def group_config(group: str, preset: str = "minutes", **overrides: Any) -> Config:
    """A column of table 2 (or a YAML file of your own), at the size of the preset."""
    path = FOLDER / f"{group}.yaml" if group in GROUPS else Path(group)
    sizes = [FOLDER / "minutes.yaml"] if preset == "minutes" else []
    return Config.read(path, *sizes, **overrides)


def convert(name: str, value: Any) -> Any:
    """The value in the type of its field; text, as a command line gives it, included."""
    hints = get_type_hints(Config)
    if name not in hints:
        close = difflib.get_close_matches(name, hints, 1)
        hint = f": did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown option {name!r}{hint}")
    kinds = get_args(hints[name]) or (hints[name],)
    if get_origin(hints[name]) is Literal:
        if value not in kinds:
            raise ValueError(f"{name} must be one of {', '.join(kinds)}, got {value!r}")
        return value
    if NoneType in kinds and value in (None, "none", "None"):
        return None
    kind = kinds[0]
    if kind is bool:
        truth = {True: True, False: False, "true": True, "false": False}
        if not isinstance(value, bool | str) or value not in truth:
            raise ValueError(f"{name} must be true or false, got {value!r}")
        return truth[value]
    try:
        if kind is int and isinstance(value, bool | float):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}") from None


def plain(config: Config) -> dict[str, Any]:
    """What YAML, JSON and a checkpoint can hold."""
    values = {f.name: getattr(config, f.name) for f in fields(config)}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}
