"""How large entries would be."""

from collections.abc import Sequence

from mmtvr.video.cache.frame_cache import FrameCache, Query
from mmtvr.video.cache.shard import Member
from mmtvr.video.cache.stored_video import StoredVideo


class DryFrameCache(FrameCache):
    """A cache that tells the size of what it is given, and keeps nothing."""

    def find(self, query: Query) -> StoredVideo | None:
        """Find nothing, so that everything is read from its file.

        Args:
            query: From :meth:`ask`.

        Returns:
            None.
        """
        return None

    def _keep(self, query: Query, members: Sequence[Member]) -> None:
        pass
