"""The embedded default: videos that the project draws itself."""

from mmtvr.datasets.text_video import TextVideoDataset
from mmtvr.registry import DATASETS

from .generation import ANNOTATIONS, ensure_moving_shapes


@DATASETS.register_module()
class MovingShapesDataset(TextVideoDataset):
    """Three-shot videos of coloured shapes, drawn on first use.

    Each video has three captions that tell two of its three shots, for
    example ``a red circle rising then a green cross resting``. They come in
    pairs that differ in a few words, and no caption is true of another video
    of the split.
    The files are real mp4 and JSON, read as those of any other data set.

    Args:
        data_root (str): Folder that the splits are drawn into.
        split (str): Name of the split, ``'train'`` or ``'test'``.
        num_videos (int): Number of videos of the split.
        seed (int): Everything is drawn from it.
        **kwargs: Arguments of :class:`TextVideoDataset`.

    Raises:
        SetupError: If the folder holds a split of other settings.
    """

    METAINFO = dict(dataset_type='moving_shapes')

    def __init__(
        self,
        data_root: str = 'data/moving_shapes',
        split: str = 'train',
        num_videos: int = 300,
        seed: int = 0,
        **kwargs: object,
    ) -> None:
        folder = ensure_moving_shapes(data_root, split, num_videos, seed)
        super().__init__(ann_file=ANNOTATIONS, data_root=str(folder), **kwargs)
