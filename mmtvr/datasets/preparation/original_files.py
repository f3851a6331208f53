"""Reading the kinds of file in which the data sets are published."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

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
        SetupError: If the file is not JSON, or the zip does not hold exactly
            one JSON file.
    """
    try:
        if path.suffix != '.zip':
            return json.loads(path.read_text(encoding='utf-8'))
        with zipfile.ZipFile(path) as archive:
            inside = [n for n in archive.namelist() if n.endswith('.json')]
            if len(inside) != 1:
                raise SetupError(
                    f'{path} holds {len(inside)} JSON files, expected 1'
                )
            return json.loads(archive.read(inside[0]).decode('utf-8'))
    except (ValueError, zipfile.BadZipFile) as error:
        raise SetupError(f'{path} cannot be read: {error}') from error


def read_lines(path: Path) -> list[str]:
    """Read a list of names, one a line, without empty lines."""
    lines = path.read_text(encoding='utf-8').splitlines()
    return [line.strip() for line in lines if line.strip()]


def read_column(path: Path, column: str) -> list[str]:
    """Read one column of a CSV file that has a header.

    Args:
        path: The CSV file.
        column: Name of the column.

    Returns:
        The values of that column.

    Raises:
        SetupError: If the header lacks the column.
    """
    return [row[column] for row in read_table(path, column)]


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Read a CSV file that has a header.

    Args:
        path: The CSV file.
        *columns: Columns that must be there.

    Returns:
        One dict per row.

    Raises:
        SetupError: If the header lacks one of the columns.
    """
    with path.open(encoding='utf-8', newline='') as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise SetupError(
                f'{path} has no column {sorted(missing)}; its header is '
                f'{reader.fieldnames}'
            )
        return list(reader)
