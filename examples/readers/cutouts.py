"""A folder of FITS cut-outs beside a table that names them."""

from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.table import Table
from torch.utils.data import Dataset

from readers.galaxy import Galaxy, centre, column, float_image, sdss_ids

COLUMNS = ("file", "z_spec", "ebv")
NAMES = ("plate", "mjd", "fiberid")


class Cutouts(Dataset[Galaxy]):
    """``table``: CSV, ECSV or FITS with ``file`` (relative to the table's folder, in it or below),
    ``z_spec`` and ``ebv``; each file's first image is [5, H, W], and its middle is read.

    Galaxies are named by ``plate``, ``mjd`` and ``fiberid`` if the table has them, else by file.
    """

    def __init__(self, table: str | Path, side: int = 64) -> None:
        table = Path(table)
        self.side, self.folder = side, table.parent.resolve()
        rows = Table.read(table, format="ascii.csv" if table.suffix == ".csv" else None)
        if missing := [name for name in COLUMNS if name not in rows.colnames]:
            raise ValueError(
                f"{table}: column {missing[0]!r} is missing; found {', '.join(rows.colnames)}"
            )
        self.files = [self._inside(str(name)) for name in rows["file"]]
        self.z_spec, self.ebv = column(rows["z_spec"]), column(rows["ebv"])
        named = all(name in rows.colnames for name in NAMES)
        self.ids = sdss_ids(*(rows[k] for k in NAMES)) if named else [str(f) for f in rows["file"]]

    def _inside(self, name: str) -> Path:
        path = (self.folder / name.strip()).resolve()
        if not path.is_relative_to(self.folder):
            raise ValueError(f"file {name!r} lies outside the table's folder {self.folder}")
        return path

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Galaxy:
        image = float_image(self._read(self.files[index]))
        return Galaxy(image, self.ebv[index], self.z_spec[index], self.ids[index])

    def _read(self, path: Path) -> Any:
        with fits.open(path, memmap=False) as hdus:
            images = [hdu.data for hdu in hdus if hdu.is_image and hdu.data is not None]
        if not images or images[0].ndim != 3 or len(images[0]) != 5:
            shape = list(images[0].shape) if images else "none"
            raise ValueError(f"{path}: the first image must be [5, H, W], got {shape}")
        return images[0][(slice(None), *centre(images[0].shape[1:], self.side))]
