"""What needs the extra 'examples' is left out where it is not installed."""

from importlib.util import find_spec

NEEDED = (
    "curvlinops",
    "galsim",
    "h5py",
    "kcorrect",
    "lightning",
    "tensorboard",
    "torchvision",
    "yaml",
)
if not all(find_spec(package) for package in NEEDED):
    collect_ignore = ["test_config.py", "test_landscape.py", "test_readers.py", "test_trainer.py"]
