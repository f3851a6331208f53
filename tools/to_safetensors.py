"""Write the weights of a checkpoint as safetensors, which hold no code.

``python tools/to_safetensors.py epoch_5.pth weights.safetensors`` makes a file
to pass on: weights alone, without the state of the optimizer and without a
pickle. ``tools/test.py`` and ``load_from`` take it.
"""

import argparse
import sys
from pathlib import Path

from safetensors.torch import save_file

from mmtvr.checkpoints import SAFETENSORS, read_checkpoint
from mmtvr.cli.command import TRUST_HELP, run_command
from mmtvr.errors import SetupError
from mmtvr.files import atomic_path


def main() -> None:
    """Convert as the command line says.

    Raises:
        SetupError: The checkpoint cannot be read, or the new file would
            replace another or have another ending.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('out', type=Path, help='a new .safetensors file')
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    args = parser.parse_args()
    if args.out.suffix != SAFETENSORS:
        raise SetupError(f'{args.out} must end in {SAFETENSORS}')
    if args.out.exists():
        raise SetupError(f'{args.out} is there already; remove it first')
    content = read_checkpoint(args.checkpoint, trust=args.trust_checkpoint)
    # Tensors that share memory, such as tied weights, are written apart.
    weights = {
        name: tensor.clone().contiguous()
        for name, tensor in content['state_dict'].items()
    }
    with atomic_path(args.out) as partial:
        save_file(weights, partial, {'format': 'pt'})
    print(f'{args.out}: {len(weights)} tensors')


if __name__ == '__main__':
    sys.exit(run_command(main))
