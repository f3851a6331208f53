"""Prepare animated Fluent Emoji with captions, in five folds."""

import argparse
import shutil
import sys
from pathlib import Path

from mmtvr.cli.command import run_command
from mmtvr.cli.prepare import prepare
from mmtvr.datasets.picture_sets import (
    read_captions,
    read_emoji,
    select_moving,
    split_emoji,
    write_picture_captions,
)


def main() -> None:
    """Copy the moving emoji and write annotations for each language."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'pictures',
        type=Path,
        help='folder with the unpacked @lobehub/fluent-emoji-anim-1 to -4',
    )
    parser.add_argument(
        'captions', type=Path, help='the unpacked emojibase-data'
    )
    parser.add_argument('--languages', nargs='+', default=['en'])
    parser.add_argument('--output', type=Path, default=Path('data/emoji'))
    options = parser.parse_args()
    captions = {
        language: read_captions(options.captions, language)
        for language in options.languages
    }
    chosen = select_moving(read_emoji(options.pictures))
    videos = options.output / 'videos'
    videos.mkdir(parents=True, exist_ok=True)
    for emoji in chosen:
        shutil.copyfile(emoji.path, videos / f'{emoji.code}.webp')
    for language in options.languages:
        splits = split_emoji(chosen, captions[language])
        prepare('emoji', splits, options.output / language)
        write_picture_captions(splits, options.output / language)


if __name__ == '__main__':
    sys.exit(run_command(main))
