"""Results as tables: what a metric returns, aligned in a terminal and in a notebook."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from torch import Tensor

SHOWN = 10  # entries of a row, beyond which its middle is left out
Row = tuple[str, ...]


class MetricTable(dict[str, Any]):
    """A dict, one row for each name, that shows itself as a table.

    Where all values are mappings of numbers, each of these has a column; a value that is a table
    follows under its name. Pickled or copied it is a plain ``OrderedDict``, which ``torch.load``
    takes with ``weights_only=True``.
    """

    def __repr__(self) -> str:
        return as_text(*_grid(self)) or "{}"

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        return as_html(*_grid(self))

    def __reduce__(self) -> Any:
        return OrderedDict, (), None, None, iter(self.items())


def as_text(head: Row, rows: Sequence[Row]) -> str:
    """Columns set apart by two spaces, names to the left and numbers to the right."""
    lines = [head, *rows] if any(head) else list(rows)
    widths = [
        max(len(line[k]) if k < len(line) else 0 for line in lines)
        for k in range(max(map(len, lines), default=0))
    ]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
        for line in lines
    )


def as_html(head: Row, rows: Sequence[Row]) -> str:
    """The same as a table of HTML."""
    return "".join(["<table>", *_lines_of_html(head, rows), "</table>"])


def _lines_of_html(head: Row, rows: Sequence[Row]) -> Iterator[str]:
    if any(head):
        yield "<thead><tr>" + "".join(f"<th>{escape(name)}</th>" for name in head) + "</tr></thead>"
    yield "<tbody>"
    for name, *cells in rows:
        numbers = "".join(f'<td style="text-align: right">{escape(cell)}</td>' for cell in cells)
        yield f'<tr><th style="text-align: left">{escape(name)}</th>{numbers}</tr>'
    yield "</tbody>"


def _grid(table: Mapping[str, Any]) -> tuple[Row, list[Row]]:
    """Names of the columns, if they have any, and the rows; the first cell is a row's name."""
    parted = all(_is_of_numbers(value) for value in table.values())
    columns = dict.fromkeys(key for value in table.values() if parted for key in value)
    rows: list[Row] = []
    for name, value in table.items():
        if isinstance(value, MetricTable):
            head, below = _grid(value)
            rows += [(name, *head[1:]), *((f"  {row[0]}", *row[1:]) for row in below)]
        elif parted:
            rows.append((name, *(number(value.get(key, "")) for key in columns)))
        elif isinstance(value, Mapping):
            numbers = _is_of_numbers(value)
            each = (f"{key} {number(value[key])}" if numbers else str(key) for key in value)
            rows.append((name, ", ".join(each)))
        else:
            rows.append((name, *cells(value)))
    return ("", *columns), rows


def _is_of_numbers(value: Any) -> bool:
    plain = isinstance(value, Mapping) and not isinstance(value, MetricTable)
    return plain and all(_is_number(each) for each in value.values())


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or getattr(value, "ndim", 1) == 0


def cells(value: Any) -> Row:
    """A number in one cell, or those of a vector, the middle of a long one left out."""
    if isinstance(value, Tensor):
        if value.ndim > 1 or value.device.type == "meta":
            return (f"shape {tuple(value.shape)}",)
        value = value if value.ndim else value.item()
    if not isinstance(value, Tensor | list):
        return (number(value),)
    half = SHOWN // 2
    parts = [value] if len(value) <= SHOWN else [value[:half], ["..."], value[-half:]]
    return tuple(number(each) for part in parts for each in part)


def number(value: Any) -> str:
    """Five digits of a number that is not whole by type; None, which stands for NaN, as a dash."""
    if isinstance(value, Tensor):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.5g}"
    return "-" if value is None else str(value)
