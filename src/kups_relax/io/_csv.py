"""Tables for spreadsheets."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kups_relax.io._left_out import LeftOut, encodable

# How text begins that spreadsheets take for a formula; the apostrophe marks the others.
_FORMULA = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SEPARATOR = re.compile(r"""[,;\t|"\r\n]|^ | $""")


def write_csv(path: Path, columns: Mapping[str, list[Any]], left_out: LeftOut) -> None:
    """Write a table that neither splits nor runs what its text says.

    Text that a spreadsheet would take for a formula (it begins with =, +, -, @, a tab, a return, or
    their full-width forms, and is no number), or that begins with an apostrophe, has an apostrophe
    put before it; so who reads the table takes one from each cell that begins with one. Cells with
    separators of any country, quotes or ends of lines are quoted.

    Args:
        path: Of the file, which must not exist.
        columns: Values by name, a row for each structure.
        left_out: Takes note of values that have no text.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import csv, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "table.csv")
        ...     write_csv(path, {"id": ["=1+1", "-5", "a"], "n": [-1, 2, 3]}, LeftOut(path, ""))
        ...     print(path.read_text(), end="")
        ...     with path.open(newline="") as file:
        ...         [row["id"].removeprefix("'") for row in csv.DictReader(file)]
        id,n
        '=1+1,-1
        -5,2
        a,3
        ['=1+1', '-5', 'a']
    """

    def cell(key: str, value: Any) -> str:
        try:
            text = encodable("" if value is None else str(value))
        except Exception:  # integers of thousands of digits, and objects of the user's own
            left_out.add(key, f"a {type(value).__name__} of this column", type(value))
            return ""
        number = isinstance(value, bool | int | float) or _NUMBER.fullmatch(text)
        return text if number else _as_text(text)

    with path.open("w", newline="", encoding="utf-8") as file:
        for row in (columns, *zip(*columns.values(), strict=True)):
            cells = map(cell, columns, row)
            # A line of nothing would be no row.
            file.write((",".join(map(_quoted, cells)) or '""') + "\n")


def _as_text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _quoted(cell: str) -> str:
    return '"{}"'.format(cell.replace('"', '""')) if _SEPARATOR.search(cell) else cell
