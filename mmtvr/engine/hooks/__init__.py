"""Hooks that the recipes add to a run."""
