"""What needs the extra 'examples' is left out where it is not installed."""

from importlib.util import find_spec

NEEDED = (
    "curvlinops",
    "filelock",
    "galsim",
    "h5py",
    "kcorrect",
    "lightning",
    "optuna",
    "sklearn",
    "tensorboard",
    "torchvision",
    "yaml",
)
NEEDY = ("config", "files", "landscape", "layouts", "readers", "study", "study_fluxes", "trainer")
if not all(find_spec(package) for package in NEEDED):
    collect_ignore = [f"test_{name}.py" for name in NEEDY]
