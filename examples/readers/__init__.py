"""One small reader for each layout of data, all giving a `Galaxy` an item."""

from readers.cutouts import Cutouts
from readers.galaxy import Galaxy, Reader, sdss_id, split_rows
from readers.hayat import Hayat
from readers.pasquet import Pasquet
from readers.rendered import Rendered

__all__ = [
    "Cutouts",
    "Galaxy",
    "Hayat",
    "Pasquet",
    "Reader",
    "Rendered",
    "sdss_id",
    "split_rows",
]
