"""What can go wrong with a request, each with its HTTP status."""


class PageError(Exception):
    """Something that the reader of a page is told.

    The message says what is wrong and what to do about it.
    """

    status = 400


class NotIndexedError(PageError):
    """No video of the index has that name."""

    status = 404

    def __init__(self) -> None:
        super().__init__(
            'There is no such video in the index. It may have been removed '
            'since this address was made.'
        )


class ChangedFileError(PageError):
    """An indexed file is not there, or not as it was indexed."""

    status = 410


class BusyError(PageError):
    """Too many requests wait already."""

    status = 503

    def __init__(self) -> None:
        super().__init__(
            'Many people are asking at the same time. Please try again in a '
            'moment.'
        )
