"""What measures, fuzzes and breaks mmtvr; run from the root with ``-m``."""
