"""What needs the extra 'examples' is left out where it is not installed."""

from importlib.util import find_spec

NEEDED = ("galsim", "h5py", "kcorrect", "lightning", "tensorboard", "torchvision", "yaml")
if not all(find_spec(package) for package in NEEDED):
    collect_ignore = [
        f"test_{name}.py" for name in ("config", "layouts", "readers", "study", "trainer")
    ]
