"""List the licences of the installed packages.

``python tools/audit/licences.py`` reads what each package says of itself. A
package whose licence asks something of those who pass it on (GPL and its kin)
or that says nothing stands once more at the end. This is a report: the exit
status is 0 whatever it says.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

# Licences that ask for the source of what is built on them, or of changes.
COPYLEFT = re.compile(
    r'\b(?:A|L)?GPL|General Public|\bMPL|Mozilla|\bEPL|\bCDDL|EUPL', re.I
)
UNKNOWN = 'says nothing'
PREFIX = 'License :: '
LONGEST = 60


def find_licence(package: Distribution) -> str:
    """SPDX expression of a package, else its classifiers or short text."""
    about = package.metadata
    if about.get('License-Expression'):
        return about['License-Expression']
    named = [
        line.rpartition(' :: ')[2]
        for line in about.get_all('Classifier') or ()
        if line.startswith(PREFIX) and line != f'{PREFIX}OSI Approved'
    ]
    if named:
        return '; '.join(named)
    text = (about.get('License') or '').strip().splitlines()
    return text[0][:LONGEST] if text else UNKNOWN


def judge(licence: str) -> str:
    """Why somebody must look at a licence, or an empty text."""
    if licence in (UNKNOWN, 'UNKNOWN'):
        return 'look it up'
    # What can be had under another licence too asks nothing.
    mixed = ' AND ' in licence
    choices = [licence] if mixed else licence.split(' OR ')
    return 'copyleft' if all(map(COPYLEFT.search, choices)) else ''


def draw(packages: Iterable[Distribution]) -> tuple[Table, list[str]]:
    """A table of licences, and a line for each package to look at."""
    by_licence, remarks = defaultdict(set), []
    for package in packages:
        name = package.metadata['Name']
        licence = find_licence(package)
        by_licence[licence].add(name)
        why = judge(licence)
        if why:
            line = f'{why}: {name} {package.version} ({licence})'
            remarks.append(line)
    table = Table(box=SIMPLE)
    table.add_column('licence', overflow='fold')
    table.add_column('packages', overflow='fold')
    ranking = sorted(by_licence.items(), key=lambda each: -len(each[1]))
    for licence, names in ranking:
        listed = ', '.join(sorted(names, key=str.lower))
        table.add_row(licence, f'{len(names)}: {listed}')
    return table, sorted(set(remarks))


if __name__ == '__main__':
    table, to_look_at = draw(distributions())
    Console().print(table)
    print('\n'.join(to_look_at))
