"""Readers that do to their process what a decoder gone wrong does.

A decoder process imports this module by its name, so it is no test module.
"""

import ctypes
import os
import time

import numpy as np

from mmtvr.video import DecordReader, UnreadableVideoError


def do_evil(name):
    if 'holds' in name:
        # PyDLL keeps the interpreter's lock during the call.
        ctypes.PyDLL(None).sleep(1000)
    if 'blocks' in name:
        time.sleep(1000)
    if 'spins' in name:
        while True:
            pass
    if 'segfaults' in name:
        ctypes.string_at(0)
    if 'exits' in name:
        os._exit(3)
    if 'unreadable' in name:
        raise UnreadableVideoError(f'{name}: as told')
    if 'fails' in name:
        raise KeyError('a mistake of the reader')
    if 'exhausts' in name:
        raise MemoryError
    if 'chatters' in name:
        os.write(1, b'a decoder says hello' * 100)


class EvilReader(DecordReader):
    """Real frames of good files, evil for those with a telling name."""

    def __init__(self, path, short_side=None, source=None):
        do_evil(os.path.basename(path))
        super().__init__(source or path, short_side)


class CountingReader:
    """No file at all: T frames of any size, each filled with its number."""

    def __init__(self, path, short_side=None, count=10, side=4):
        self.path, self.count, self.side = path, count, side
        self.original_shape = side, side
        self.fps, self.codec, self.rotation = 25.0, 'none', 0

    def __len__(self):
        return self.count

    def get_frames(self, indices):
        do_evil(f'{self.path}' if 5 in indices else '')
        frames = np.empty((len(indices), self.side, self.side, 3), np.uint8)
        frames[:] = np.reshape(indices, (-1, 1, 1, 1))
        return frames

    def get_times(self):
        return np.arange(self.count) / self.fps

    def close(self):
        self.path = None
