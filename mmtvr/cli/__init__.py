"""The sub-commands of ``mmtvr``: arguments, progress, messages."""
