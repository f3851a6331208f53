"""``mmtvr recipes``: list the recipes that are installed."""

import argparse
import csv
import sys
from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mmtvr.config.reading import find_recipes, read_recipes

EPILOG = """
t2v R@1 is in percent, measured with mmtvr (m) or as others state it (c); --csv
says where. Recipes in folders (ablation/...) are listed when asked for.

examples:
  mmtvr recipes
  mmtvr recipes ablation/
  mmtvr recipes msrvtt --csv
  mmtvr recipes tpmcl_msrvtt --path

A config of your own changes a recipe: _base_ = 'mmtvr::tpmcl_msrvtt.py', then
what differs.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr recipes`` and return its exit status."""
    parser = argparse.ArgumentParser(
        'mmtvr recipes',
        description='List the recipes that `mmtvr train NAME` takes.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'part', nargs='?', default='', help='list names that contain this'
    )
    parser.add_argument('--csv', action='store_true', help='print as CSV')
    parser.add_argument(
        '--path', action='store_true', help='print their files alone'
    )
    args = parser.parse_args(argv)
    recipes = [
        each
        for each in read_recipes()
        if args.part in each['recipe'] and (args.part or each['data'])
    ]
    if not recipes:
        print(
            f'error: no recipe has {args.part!r} in its name; `mmtvr recipes` '
            'lists them',
            file=sys.stderr,
        )
        return 1
    if args.path:
        files = find_recipes()
        print('\n'.join(str(files[each['recipe']]) for each in recipes))
        return 0
    if args.csv:
        writer = csv.DictWriter(sys.stdout, recipes[0])
        writer.writeheader()
        writer.writerows(recipes)
    else:
        Console().print(make_table(recipes))
    return 0


def make_table(recipes: Sequence[dict[str, str]]) -> Table:
    """Put what fits a terminal of 80 columns into a table."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column('recipe', no_wrap=True)
    table.add_column('encoder')
    for name in ('frames', 'words', 't2v R@1'):
        table.add_column(name, justify='right', no_wrap=True)
    for each in recipes:
        result = f'{each["t2v R@1"]} {each["source"][:1]}'
        encoder = each['encoder'].rpartition('/')[2]
        table.add_row(
            *(each['recipe'], encoder, each['frames'], each['words']), result
        )
    return table
