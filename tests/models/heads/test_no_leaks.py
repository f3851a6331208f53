"""No head may score a pair by anything but its caption and its video.

Every class of the folder of heads is found in the registry, so that a new one
cannot escape.
"""

import inspect

import pytest
import torch

import mmtvr.models  # noqa: F401
from mmtvr.registry import MODELS

HEADS = sorted(
    name
    for name, kind in MODELS.module_dict.items()
    if kind.__module__.startswith('mmtvr.models.heads.')
)
CLOSE = dict(rtol=0, atol=1e-12)


@pytest.fixture(params=HEADS)
def head(request):
    torch.manual_seed(0)
    kind = MODELS.get(f'mmtvr.{request.param}')
    has_width = 'embed_dims' in inspect.signature(kind).parameters
    options = dict(embed_dims=8) if has_width else {}
    built = MODELS.build(dict(type=f'mmtvr.{request.param}', **options))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return built.double().eval()


@pytest.fixture
def text(features):
    return features(7, 5, seed=1, key_words=True)


@pytest.fixture
def video(features):
    return features(4, 6, seed=2)


def test_the_registry_holds_the_heads():
    assert {'CosineHead', 'TokenWiseHead', 'DMAEHead'} <= set(HEADS)


def test_shuffled_videos_shuffle_the_columns(head, text, video):
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        head(text, video.select(order)), head(text, video)[:, order], **CLOSE
    )


def test_a_duplicate_of_a_video_scores_the_same(head, text, video):
    twice = torch.tensor([0, 1, 2, 3, 1])
    scores = head(text, video.select(twice))
    torch.testing.assert_close(scores[:, 4], scores[:, 1], **CLOSE)
    torch.testing.assert_close(scores[:, :4], head(text, video), **CLOSE)


@pytest.mark.parametrize(('texts', 'videos'), [(1, 4), (7, 1), (3, 4), (7, 2)])
def test_any_numbers_of_texts_and_videos_meet(
    head, text, video, texts, videos
):
    part = head(
        text.select(torch.arange(texts)), video.select(torch.arange(videos))
    )
    whole = head(text, video)
    torch.testing.assert_close(part, whole[:texts, :videos], **CLOSE)


def test_one_query_at_a_time_scores_as_all_at_once(head, text, video):
    rows = [head(text.select(torch.tensor([i])), video) for i in range(7)]
    torch.testing.assert_close(torch.cat(rows), head(text, video), **CLOSE)


def with_row(strangers, features, row):
    """The strangers, with one row from other features."""
    fields = []
    for theirs, ours in zip(strangers, features, strict=True):
        if theirs is not None:
            theirs = theirs.clone()
            theirs[row] = ours[row]
        fields.append(theirs)
    return type(strangers)(*fields)


def test_a_pair_sees_no_other_text_and_no_other_video(
    head, text, video, features
):
    """Not even the positive: other content elsewhere leaves a score alone."""
    before = head(text, video)
    texts = features(7, 5, seed=3, key_words=True)
    videos = features(4, 6, seed=4)
    for i in range(7):
        j = i % 4
        after = head(with_row(texts, text, i), with_row(videos, video, j))
        torch.testing.assert_close(after[i, j], before[i, j], **CLOSE)
