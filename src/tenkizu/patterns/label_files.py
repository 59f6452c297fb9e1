"""Files of labels, CSV or a Python dictionary, read into (place, date, label)."""

import ast
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from tenkizu.core.errors import DataError

Entry = tuple[str, str, str | None]
"""File and line, the date and the label, both as written."""


def label_entries(path: Path) -> Iterator[Entry]:
    """The entries of a file of labels in their order.

    A CSV file has the columns ``date`` and ``label``; others are left alone. A Python file
    (``.py``) holds one dictionary, on its own or assigned to a name; it is read, never run.

    Raises:
        DataError: the file cannot be read, or is something else; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", file=path, next_step="check labels.file"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            "is not text",
            file=f"{path}, line {line}",
            found=f"byte {error.object[error.start]:#04x}",
            expected="UTF-8",
        ) from error
    return _python_entries(path, text) if path.suffix == ".py" else _csv_entries(path, text)


def _csv_entries(path: Path, text: str) -> Iterator[Entry]:
    rows = _csv_rows(path, text)
    where, names = next(rows, (f"{path}, line 1", []))
    header = [name.strip().lower() for name in names]
    if "date" not in header or "label" not in header:
        raise DataError(
            "has no columns date and label",
            file=where,
            found=f"'{','.join(names)}'",
            expected="'date,label'",
        )
    date, label = header.index("date"), header.index("label")
    for where, row in rows:
        if len(row) <= max(date, label):
            raise DataError(
                "too few columns", file=where, found=f"'{','.join(row)}'", expected="'date,label'"
            )
        yield where, row[date], row[label]


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """Rows that are not blank, each with its file and line."""
    reader = csv.reader(io.StringIO(text), strict=True)
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"is not CSV ({error})", file=where) from error
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield where, row


def _python_entries(path: Path, text: str) -> Iterator[Entry]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise DataError(
            f"is not a Python dictionary ({getattr(error, 'msg', error)})",
            file=f"{path}, line {line}",
        ) from error
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]  # a docstring
    tables = [table for statement in body if (table := _dictionary(statement))]
    if len(body) != 1 or not tables:
        wrong = [statement for statement in body if not _dictionary(statement)] or body[1:]
        raise DataError(
            "must hold one dictionary and nothing else; it is read, never run",
            file=f"{path}, line {wrong[0].lineno if wrong else 1}",
            found=ast.unparse(wrong[0])[:80] if wrong else "nothing",
            expected='{"1991-01-01": "2C", ...}',
        )
    for key, value in zip(tables[0].keys, tables[0].values, strict=True):
        where = f"{path}, line {(key or value).lineno}"
        try:
            date = None if key is None else ast.literal_eval(key)
            label = ast.literal_eval(value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            date = label = None
        if not isinstance(date, str) or not isinstance(label, str | None):
            entry = (f"{ast.unparse(key)}: " if key else "**") + ast.unparse(value)
            raise DataError(
                "not a date and its label",
                file=where,
                found=entry[:80],
                expected='two texts in quotes, such as "1991-01-01": "2C"',
            )
        yield where, date, label


def _dictionary(statement: ast.stmt) -> ast.Dict | None:
    """The dictionary that a statement is, or assigns to a name."""
    if isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign) and isinstance(
        statement.value, ast.Dict
    ):
        return statement.value
    return None
