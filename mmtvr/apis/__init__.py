"""What stands on all the parts: checks of a whole config before work."""
