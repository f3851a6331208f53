"""Fixtures that several test modules share."""

import gc
import json
import multiprocessing
import os
import pickle
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

# Tests run in several processes; more threads would only get in their way.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch
from torch import distributed as dist

# Read when Triton is first imported, which other packages do too.
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'

SPECIAL = ('<|startoftext|>', '<|endoftext|>')
WHOLE_WORDS = ('a', 'is', 'the', 'man', 'young', 'red', 'dog', 'runs')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no process ends with one.

    The order within a file and among the other files stays.
    """
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Real data beside the project; tests that use it skip without it."""
    path = Path(__file__).resolve().parents[2] / 'shared'
    if not path.is_dir():
        pytest.skip('the folder ../shared with real data is absent')
    return path


class Fork(multiprocessing.get_context('fork').Process):
    """A function that runs in a fork of this process.

    It has the imports of this process, which take seconds, but no thread, and
    no garbage of earlier tests is collected there.

    Args:
        folder: Gets a file of what it prints and one of what it returns.
        function: Called there.
        environment: Variables that are set there.
    """

    def __init__(self, folder, function, environment):
        super().__init__()
        self.folder, self.function = folder, function
        self.environment = environment
        self.start()

    def run(self):
        gc.freeze()
        for number, name in ((1, 'stdout'), (2, 'stderr')):
            file = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
            os.close(file)
            setattr(sys, name, os.fdopen(number, 'w', closefd=False))
        os.environ.update(self.environment)
        torch.set_num_threads(1)
        result = pickle.dumps(self.function())
        (self.folder / 'result').write_bytes(result)

    def finish(self, check=True):
        """Wait for its end; tells it like :class:`subprocess.Popen`."""
        self.join(300)
        printed = [
            (self.folder / name).read_text() for name in ('stdout', 'stderr')
        ]
        if check:
            assert self.exitcode == 0, '\n'.join(printed)
        result = self.folder / 'result'
        return SimpleNamespace(
            returncode=self.exitcode,
            stdout=printed[0],
            stderr=printed[1],
            result=pickle.loads(result.read_bytes())
            if result.exists()
            else None,
        )


@pytest.fixture(scope='session')
def fork(tmp_path_factory):
    """Start a function in a fork of this process."""

    def start(function, **environment):
        return Fork(tmp_path_factory.mktemp('fork'), function, environment)

    return start


@pytest.fixture(scope='session')
def in_processes(fork, tmp_path_factory):
    """Run a function in R forked gloo processes; returns their results."""

    def run(world_size, work):
        store = tmp_path_factory.mktemp('store') / 'store'

        def child(rank):
            dist.init_process_group(
                'gloo',
                init_method=f'file://{store}',
                rank=rank,
                world_size=world_size,
            )
            result = work()
            dist.destroy_process_group()
            return result

        forks = [
            fork(partial(child, rank), LOCAL_RANK=str(rank))
            for rank in range(world_size)
        ]
        return [each.finish().result for each in forks]

    return run


def tiny_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE as CLIP's: every text tokenizes, few words are whole.

    Words outside ``WHOLE_WORDS`` fall into one piece per byte. The end token
    has the highest id, as in OpenAI's vocabulary.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    pieces = alphabet + [letter + '</w>' for letter in alphabet]
    merges = []
    for word in WHOLE_WORDS:
        letters = [*word[:-1], word[-1] + '</w>']
        left = letters[0]
        for right in letters[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
                pieces.append(left + right)
            left += right
    pieces += SPECIAL
    return {piece: index for index, piece in enumerate(pieces)}, merges


@pytest.fixture(scope='session')
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a random CLIP and its tokenizer, in Hugging Face's layout.

    Width 32, two layers and two heads in both towers, projection 32, images
    of 32x32 in patches of 8, 77 positions. Loads through ``from_pretrained``.
    """
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast

    folder = tmp_path_factory.mktemp('tiny_clip')
    vocabulary, merges = tiny_vocabulary()
    start, end = (vocabulary[token] for token in SPECIAL)
    CLIPTokenizerFast(
        vocab=vocabulary, merges=merges, model_max_length=77
    ).save_pretrained(folder)
    tower = dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=32,
    )
    text = dict(
        vocab_size=len(vocabulary),
        max_position_embeddings=77,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )
    config = CLIPConfig(
        text_config={**tower, **text},
        vision_config={**tower, 'image_size': 32, 'patch_size': 8},
        projection_dim=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    processor = dict(
        image_processor_type='CLIPImageProcessor',
        size=dict(shortest_edge=32),
        crop_size=dict(height=32, width=32),
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )
    (folder / 'preprocessor_config.json').write_text(json.dumps(processor))
    return folder


STAMP_BITS = 8
TINY_VIDEOS = {
    # name: (frames, width, height)
    'video0.mp4': (40, 96, 64),
    'video1.mp4': (30, 64, 96),
    'video2.mp4': (25, 128, 96),
    'video3.mp4': (5, 96, 64),
    'video4.mp4': (40, 48, 48),
}


def write_stamped_video(path: Path, frames: int, width: int, height: int):
    """Write H.264 with B-frames at 10 fps; each frame shows its number.

    The top quarter holds eight blocks, the number in binary, most significant
    bit first, white = 1.
    """
    import av
    import numpy as np

    picture = np.random.default_rng(frames).integers(
        40, 200, (height // 16, width // 16, 3), np.uint8
    )
    picture = picture.repeat(16, axis=0).repeat(16, axis=1)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.width, stream.height = width, height
        stream.pix_fmt = 'yuv420p'
        stream.options = {'g': '12', 'bf': '2', 'crf': '15'}
        for number in range(frames):
            image = picture.copy()
            bits = [number >> bit & 1 for bit in range(STAMP_BITS)][::-1]
            row = np.repeat(np.array(bits, np.uint8), width // STAMP_BITS)
            image[: height // 4] = 255 * row[:, None]
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope='session')
def read_stamp():
    """Function from a whole frame (H, W, 3) of a tiny video to its number."""

    def read(image) -> int:
        height, width = image.shape[:2]
        row = image[height // 8].mean(axis=-1)
        places = [int((i + 0.5) * width / STAMP_BITS) for i in range(8)]
        return int(''.join('1' if row[i] > 127 else '0' for i in places), 2)

    return read


@pytest.fixture(scope='session')
def tiny_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root in mmaction2's layout, with five stamped videos.

    ``videos/video0.mp4`` to ``video4.mp4`` (one has fewer frames than most
    samplings ask for, one is 48 pixels wide), ``train_9k.json`` with three
    captions each and ``test_JSFUSION.json`` with one to three each.
    """
    root = tmp_path_factory.mktemp('tiny_msrvtt')
    (root / 'videos').mkdir()
    train, test = {}, {}
    actions = ('runs over the grass', 'eats red apples', 'sleeps on a bed')
    animals = ('dog', 'young cat', 'white horse', 'bird', 'tiny mouse')
    for number, (name, shape) in enumerate(TINY_VIDEOS.items()):
        write_stamped_video(root / 'videos' / name, *shape)
        captions = [f'a {animals[number]} {action}' for action in actions]
        train[name] = captions
        test[name] = captions[: number % 3 + 1]
    (root / 'train_9k.json').write_text(json.dumps(train))
    (root / 'test_JSFUSION.json').write_text(json.dumps(test))
    return root
