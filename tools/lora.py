"""Take or merge LoRA adapters: ``python tools/lora.py CONFIG CHECKPOINT``."""

import sys

from mmtvr.cli.lora import main

if __name__ == '__main__':
    sys.exit(main())
