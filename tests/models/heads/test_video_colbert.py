"""Video-ColBERT's two levels against the formula, word by word."""

import pytest
import torch
from torch import nn

from mmtvr.models.heads import VideoColBERTHead
from mmtvr.structures import TokenFeatures


class Reversal(nn.Module):
    """A temporal encoder of which the result is known."""

    def forward(self, video):
        return video._replace(tokens=-video.tokens)


def mean_max_sim(words, tokens):
    best = [max(float(word @ token) for token in tokens) for word in words]
    return sum(best) / len(best)


def test_levels_are_mean_max_sims_of_words_alone(features):
    text = features(3, 4, seed=1, key_words=True)
    video = features(2, 5, seed=2)
    head = VideoColBERTHead(8, 3, Reversal()).double()
    with torch.no_grad():
        parts = head.parts(text, video)
        sim = head(text, video)
    for row in range(3):
        words = text.tokens[row][text.mask[row]]
        for column in range(2):
            frames = video.tokens[column][video.mask[column]]
            frame_level = mean_max_sim(words, frames)
            tokens = [*-frames, *-head.expansion.detach()]
            video_level = mean_max_sim(words, tokens)
            first, second = (part[row, column] for part in parts.values())
            assert float(first) == pytest.approx(frame_level)
            assert float(second) == pytest.approx(video_level)
            both = frame_level + video_level
            assert float(sim[row, column]) == pytest.approx(both)


def test_frames_of_a_video_that_no_word_names_cost_nothing():
    word = torch.tensor([[[1.0, 0.0]]])
    frames = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    text = TokenFeatures(word, torch.ones(1, 1).bool(), word[:, 0])
    video = TokenFeatures(frames, torch.ones(1, 2).bool(), frames[:, 0])
    head = VideoColBERTHead(2, 0, nn.Identity())
    torch.testing.assert_close(head(text, video), torch.tensor([[2.0]]))


def test_a_negative_number_of_expansion_tokens_is_refused():
    with pytest.raises(ValueError, match='got -1'):
        VideoColBERTHead(8, -1)
