"""The errors that users are meant to read without a traceback."""


class SetupError(Exception):
    """Something that the user must provide or correct before work can start.

    The message names what is missing or wrong, where it was looked for, and
    the command or the setting that mends it. ``tools/*.py`` print it alone and
    exit with status 1.
    """


class NonFiniteError(Exception):
    """Numbers of a training that can no longer be used.

    The message says what is not finite and in which file it is written down;
    ``tools/*.py`` print it alone and exit with status 1.
    """
