"""Search an index in the browser: ``mmtvr serve``."""
