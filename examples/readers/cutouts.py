"""A folder of FITS cut-outs beside a table that names them."""

import warnings
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.table import Table
from torch.utils.data import Dataset

from readers.galaxy import Galaxy, centre, column, float_image, reading, sdss_ids

COLUMNS = ("file", "z_spec", "ebv")
FORMATS = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".fits": "fits"}
NAMES = ("plate", "mjd", "fiberid")


class Cutouts(Dataset[Galaxy]):
    """``table``: CSV, ECSV or FITS with ``file`` (relative to the table's folder, in it or below),
    ``z_spec`` and ``ebv``; each file's first image is [5, H, W], and its middle is read.

    An image that was cut short is refused, and one that is not what its cards CHECKSUM and DATASUM
    say, where it has them. Galaxies are named by ``plate``, ``mjd`` and ``fiberid`` if the table
    has them, else by file.
    """

    def __init__(self, table: str | Path, side: int = 64) -> None:
        table = Path(table)
        self.side, self.folder = side, table.parent.resolve()
        if table.suffix not in FORMATS:
            raise ValueError(f"{table}: must end in {', '.join(FORMATS)}")
        with reading(table):
            rows = Table.read(table, format=FORMATS[table.suffix])
        if missing := [name for name in COLUMNS if name not in rows.colnames]:
            raise ValueError(
                f"{table}: column {missing[0]!r} is missing; found {', '.join(rows.colnames)}"
            )
        self.files = [self._inside(str(name)) for name in rows["file"]]
        with reading(table):
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
        with reading(path), warnings.catch_warnings():
            warnings.filterwarnings("error", "File may have been truncated")
            with fits.open(path, memmap=False) as hdus:
                images = [_checked(hdu).data for hdu in hdus if hdu.is_image]
        images = [image for image in images if image is not None]
        if not images or images[0].ndim != 3 or len(images[0]) != 5:
            shape = list(images[0].shape) if images else "none"
            raise ValueError(f"{path}: the first image must be [5, H, W], got {shape}")
        return images[0][(slice(None), *centre(images[0].shape[1:], self.side))]


def _checked(hdu: Any) -> Any:
    if hdu.verify_datasum() == 0 or hdu.verify_checksum() == 0:
        raise ValueError(f"{hdu.name or 'an image'} is not what was written, by its checksum")
    return hdu
