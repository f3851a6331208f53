"""``mmtvr export``: a model to hand over, from a config and a checkpoint."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from mmtvr.cli.command import CHECKPOINT_HELP, choose_checkpoint

EXAMPLES = """
examples:
  a folder from the model that the README trains:
    mmtvr export configs/tpmcl_moving_shapes.py --into shapes_model \\
        --license apache-2.0 --data "2,000 videos of moving shapes"
  another checkpoint, and the metrics of tools/evaluate.py --out report:
    mmtvr export CONFIG CHECKPOINT --into FOLDER \\
        --results report/report.json --protocol "MSR-VTT 1k-A"
  ONNX graphs of both towers in FOLDER/onnx, checked against PyTorch:
    mmtvr export CONFIG CHECKPOINT --into FOLDER --onnx
    mmtvr export FOLDER --onnx

Where the folder goes, mmtvr.apis.Retriever.from_pretrained(FOLDER) loads it,
and `mmtvr index FOLDER VIDEOS --into INDEX` indexes with it; neither runs
code from it. The config is executed here, as by training:
docs/how-to/hand_over.md.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the arguments behind ``mmtvr export``."""
    parser = argparse.ArgumentParser(
        'mmtvr export',
        description='Write a trained model as a folder that loads anywhere.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        help='config file of the model, the work folder of a run, or a folder '
        'of this command',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help=CHECKPOINT_HELP,
    )
    parser.add_argument('--into', type=Path, metavar='FOLDER')
    parser.add_argument(
        '--onnx', action='store_true', help='write FOLDER/onnx too'
    )
    card = parser.add_argument_group('the model card, FOLDER/README.md')
    card.add_argument('--license', default='', help='of the weights')
    card.add_argument('--description', default='')
    card.add_argument('--data', default='', help='what it was trained on')
    card.add_argument('--protocol', default='', help='how it was tested')
    card.add_argument(
        '--results',
        type=Path,
        metavar='JSON',
        help='metrics by name, or report.json of tools/evaluate.py --out',
    )
    args = parser.parse_intermixed_args(argv)
    is_folder = os.path.isdir(args.config)
    if args.into is None and not (is_folder and args.onnx):
        parser.error('give --into FOLDER; a folder alone takes --onnx')
    return args


def run(args: argparse.Namespace) -> None:
    """Write what the command line asks for, and say what was written."""
    from mmtvr.apis import Retriever
    from mmtvr.config import is_work_folder

    if os.path.isdir(args.config) and not is_work_folder(args.config):
        retriever = Retriever.from_pretrained(args.config, device='cpu')
    else:
        checkpoint = choose_checkpoint(args.config, args.checkpoint)
        retriever = Retriever.from_config(
            args.config, checkpoint, device='cpu'
        )
    folder = args.into or Path(args.config)
    if args.into is not None:
        _require_new(folder)
        card = dict(
            license=args.license,
            description=args.description,
            data=args.data,
            protocol=args.protocol,
            results=args.results and read_results(args.results),
        )
        retriever.save_pretrained(folder, model_card_kwargs=card)
        print(f'{folder}: retriever {retriever.encoder.info["name"]}')
        empty = [name for name in ('license', 'data') if not card[name]]
        if empty:
            print(f'not stated in {folder}/README.md: {", ".join(empty)}')
    if args.onnx:
        from mmtvr.apis.onnx_export import export_onnx

        for name, worst in export_onnx(retriever, folder / 'onnx').items():
            print(f'{folder}/onnx/{name}: within {worst:.1e} of PyTorch')


def _require_new(folder: Path) -> None:
    from mmtvr.errors import SetupError

    if folder.is_dir() and any(folder.iterdir()):
        raise SetupError(f'{folder} is not empty; name a new folder')


def read_results(path: Path) -> dict[str, float]:
    """Read metrics for the model card.

    Raises:
        SetupError: It is neither a report nor an object of numbers.
    """
    from mmtvr.errors import SetupError
    from mmtvr.evaluation.report import MEASURES

    try:
        content = json.loads(path.read_text('utf-8'))
        if 'rows' in content:
            row = content['rows'][0]
            content = {
                f'{side} {MEASURES[name]}': value
                for side in ('t2v', 'v2t')
                if row[side] is not None
                for name, value in row[side]['measures'].items()
            }
        return {name: round(float(v), 2) for name, v in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SetupError(
            f'{path} must hold metrics by name, {{"t2v R@1": 44.1}}, or a '
            f'report of tools/evaluate.py --out ({error})'
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr export`` and return its exit status."""
    args = parse_args(argv)
    # What is imported for it is not needed by --help.
    from mmtvr.cli.command import run_command

    return run_command(lambda: run(args), 'what is in the folder is not whole')
