"""The scripts that make videos of all kinds."""

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools/analysis'


@pytest.fixture(scope='session')
def tools():
    """The scripts that make and judge stamped videos."""
    sys.path.insert(0, str(TOOLS))
    try:
        import compare_readers
        import joined_videos
        import stamped_videos
        import video_kinds
    finally:
        sys.path.remove(str(TOOLS))
    kinds = {kind.file: kind for kind in video_kinds.KINDS}
    return kinds, compare_readers, stamped_videos, joined_videos
