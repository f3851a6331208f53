"""Frames of a video file at given positions.

Nothing here imports PyTorch or OpenMMLab's packages, and decoders are imported
where they are used: a process that only reads starts quickly.
"""

from mmtvr.video.animation_reader import AnimationReader
from mmtvr.video.auto_reader import AutoReader, PyAVReader
from mmtvr.video.decord_reader import DecordReader
from mmtvr.video.reader import UnreadableVideoError, VideoReader
from mmtvr.video.torchcodec_reader import TorchCodecReader

__all__ = [
    'AnimationReader',
    'AutoReader',
    'DecordReader',
    'PyAVReader',
    'TorchCodecReader',
    'UnreadableVideoError',
    'VideoReader',
]
