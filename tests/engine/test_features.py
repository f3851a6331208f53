import pytest
import torch

from mmtvr.engine.features import block_shape, score_in_blocks
from mmtvr.structures import TokenFeatures


def features(rows, tokens, weight=False):
    generator = torch.Generator().manual_seed(rows)
    return TokenFeatures(
        torch.randn(rows, tokens, 6, generator=generator),
        torch.ones(rows, tokens, dtype=torch.bool),
        torch.randn(rows, 6, generator=generator),
        torch.ones(rows, tokens) if weight else None,
    )


def test_block_stays_within_the_budget():
    rows, columns = block_shape(
        words=32, videos=1000, frames=12, megabytes=512
    )
    assert 1 < columns < 1000
    tables = 3 * rows * columns * 32 * 12 * 4
    assert 0.9 * 512 * 2**20 < tables <= 512 * 2**20


@pytest.mark.parametrize('megabytes', [1, 64, 1024])
def test_a_block_has_about_as_many_words_as_frames(megabytes):
    """What is prepared per video must not be prepared for a few texts."""
    rows, columns = block_shape(32, 10**6, 12, megabytes)
    assert 0.8 < rows * 32 / (columns * 12) < 1.25


def test_few_videos_are_compared_with_many_texts():
    rows, columns = block_shape(32, 5, 12, megabytes=64)
    assert columns == 5
    assert rows > 1000


def test_a_budget_of_nothing_still_goes_on():
    assert block_shape(64, 5, 64, megabytes=0) == (1, 1)


@pytest.mark.parametrize('megabytes', [1e-6, 1e-3, 3e-3, 100])
def test_blocks_together_are_the_whole_table(megabytes):
    texts, videos = features(7, 5, weight=True), features(4, 3)
    sizes = []

    def similarity(text, video):
        sizes.append((len(text.mask), len(video.mask)))
        assert text.weight.shape == text.mask.shape
        return text.pooled @ video.pooled.T

    blocks = list(
        score_in_blocks(
            similarity, texts, videos, megabytes, torch.device('cpu')
        )
    )
    torch.testing.assert_close(
        torch.cat([rows for _, rows in blocks]), similarity(texts, videos)
    )
    starts = [len(rows) for _, rows in blocks]
    assert [top for top, _ in blocks] == [
        sum(starts[:i]) for i in range(len(starts))
    ]
    assert max(sizes[:-1]) <= block_shape(5, 4, 3, megabytes)
