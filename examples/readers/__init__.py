"""One small reader for each layout of data, all giving a `Galaxy` an item."""

from readers.galaxy import Galaxy, Reader, split_rows

__all__ = ["Galaxy", "Reader", "split_rows"]
