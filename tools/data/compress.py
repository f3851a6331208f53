"""Re-encode the videos of a folder to few and small frames, checked."""

import sys

from mmtvr.apis.command import run_command
from mmtvr.apis.compress import main

if __name__ == '__main__':
    sys.exit(run_command(main))
