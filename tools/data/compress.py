"""Re-encode the videos of a folder to few and small frames, checked."""

import sys

from mmtvr.apis.compress import main
from mmtvr.cli.command import run_command

if __name__ == '__main__':
    sys.exit(run_command(main))
