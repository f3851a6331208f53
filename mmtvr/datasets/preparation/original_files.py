"""Reading the kinds of file in which the data sets are published."""

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

from mmtvr.datasets.input_files import (
    brief,
    check_size,
    get_limit,
    parse_json,
    read_bytes,
    read_text,
    split_lines,
)
from mmtvr.errors import SetupError


def find(folder: Path, *names: str) -> Path:
    """Look for the first existing file among several usual names.

    Args:
        folder: Folder with the original annotation files.
        *names: File names in order of preference.

    Returns:
        The path of the first one that exists.

    Raises:
        SetupError: If none exists.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise SetupError(
        f'none of {", ".join(names)} is in {folder}; tools/data/README.md '
        'says where the original files come from'
    )


def read_json(path: Path) -> Any:
    """Read a JSON file, or the one JSON file inside a zip.

    Args:
        path: ``*.json`` or ``*.zip``.

    Returns:
        The parsed content.

    Raises:
        SetupError: If the file cannot be read or is not JSON, or the zip does
            not hold exactly one JSON file.
    """
    if path.suffix != '.zip':
        return parse_json(read_text(path), str(path))
    try:
        text = _read_zipped(path)
    except SetupError:
        raise
    except Exception as error:
        # zipfile has an exception of its own for each way to be damaged.
        raise SetupError(f'{path} cannot be read: {error}') from error
    return parse_json(text, str(path))


def _read_zipped(path: Path) -> str:
    limit = get_limit()
    with zipfile.ZipFile(io.BytesIO(read_bytes(path))) as archive:
        inside = [n for n in archive.namelist() if n.endswith('.json')]
        if len(inside) != 1:
            raise SetupError(
                f'{path} holds {len(inside)} JSON files, expected 1'
            )
        size = archive.getinfo(inside[0]).file_size
        check_size(f'the file in {path}', size, limit)
        with archive.open(inside[0]) as file:
            data = file.read(limit + 1)
    check_size(f'the file in {path}', len(data), limit)
    return data.decode('utf-8-sig')


def read_lines(path: Path) -> list[str]:
    """Read a list of names, one a line, without empty lines.

    Args:
        path: A text file.

    Returns:
        The lines without white space around them.

    Raises:
        SetupError: If the file cannot be read.
    """
    lines = split_lines(read_text(path))
    return [line.strip() for line in lines if line.strip()]


def read_column(path: Path, column: str) -> list[str]:
    """Read one column of a CSV file that has a header.

    Args:
        path: The CSV file.
        column: Name of the column.

    Returns:
        The values of that column.

    Raises:
        SetupError: If the header lacks the column, or a row has no value.
    """
    return [row[column] for row in read_table(path, column)]


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Read a CSV file that has a header.

    Args:
        path: The CSV file.
        *columns: Columns that must be there, with a value in each row.

    Returns:
        One dict per row.

    Raises:
        SetupError: If the file cannot be read, its header lacks one of the
            columns or names one twice, or a row has more or fewer fields;
            the message names the line.
    """
    reader = csv.DictReader(
        io.StringIO(read_text(path), newline=''), strict=True
    )
    try:
        header = list(reader.fieldnames or ())
        _check_header(path, header, columns)
        return [_check_row(path, reader, row) for row in reader]
    except csv.Error as error:
        raise SetupError(
            f'{path} is no CSV behind line {reader.line_num}: {error}'
        ) from error


def _check_header(
    path: Path, header: list[str], columns: tuple[str, ...]
) -> None:
    missing = set(columns) - set(header)
    if missing:
        raise SetupError(
            f'{path} has no column {sorted(missing)}; its header is '
            f'{brief(header)}'
        )
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise SetupError(f'{path} has the column {twice[0]} twice')


def _check_row(
    path: Path, reader: csv.DictReader, row: dict[str, str]
) -> dict[str, str]:
    if None in row or None in row.values():
        raise SetupError(
            f'{path}, line {reader.line_num} has not as many fields as the '
            f'header: {brief(row)}'
        )
    return row
