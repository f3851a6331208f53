"""Multi-grained similarity against one pair at a time."""

import math

import pytest
import torch

from mmtvr.errors import SetupError
from mmtvr.models.heads import XCLIPHead


def make_head(**options):
    torch.manual_seed(0)
    head = XCLIPHead(8, 6, 5, temperature=0.5, **options).double()
    for parameter in head.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return head


def attend(module, scores):
    weights = [math.exp(s / module.temperature) for s in scores]
    weights = [w / sum(weights) for w in weights]
    return sum(
        weights[k] * float(module.mix[k, m]) * scores[m]
        for k in range(len(scores))
        for m in range(len(scores))
    )


@torch.no_grad()
def slow_pair(head, words, sentence, frames, whole):
    """One caption, one video without padding."""
    parts = [
        float(sentence @ head.global_form @ whole),
        attend(head.video_words, [float(w @ whole) for w in words]),
        attend(head.sentence_frames, [float(f @ sentence) for f in frames]),
    ]
    cosine = [[float(w @ head.local_form @ f) for f in frames] for w in words]
    of_word = [attend(head.frames_of_word, row) for row in cosine]
    of_frame = [
        attend(head.words_of_frame, list(column))
        for column in zip(*cosine, strict=True)
    ]
    last = attend(head.words_last, of_word), attend(head.frames_last, of_frame)
    return (sum(parts) + sum(last) / 2) / 4


def test_similarity_equals_slow_loop(features):
    head = make_head()
    text, video = features(3, 6, seed=1), features(4, 5, seed=2)

    sim = head(text, video)

    for i in range(3):
        for j in range(4):
            expected = slow_pair(
                head,
                text.tokens[i][text.mask[i]],
                text.pooled[i],
                video.tokens[j][video.mask[j]],
                video.pooled[j],
            )
            assert sim[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_identical_vectors_score_one_at_the_start(features):
    head = XCLIPHead(8).double()
    text = features(1, 6, seed=3)
    text.tokens.copy_(text.pooled)

    sim = head(text, text.select(slice(0, 1)))

    assert sim.item() == pytest.approx(1.0)


@pytest.mark.parametrize(('words', 'frames'), [(7, 5), (6, 6)])
def test_more_tokens_than_configured_are_refused(features, words, frames):
    with pytest.raises(SetupError, match='max_words and max_frames'):
        make_head()(features(2, words), features(2, frames))
