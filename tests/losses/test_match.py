"""The ways to say which pairs belong together."""

import pytest
import torch

from mmtvr.losses import positive_pairs


def test_no_match_means_the_diagonal():
    assert torch.equal(positive_pairs(torch.zeros(3, 3)), torch.eye(3).bool())


def test_labels_name_the_positive_column_of_each_row():
    positive = positive_pairs(torch.zeros(3, 4), torch.tensor([2, 0, 2]))

    assert positive.nonzero().tolist() == [[0, 2], [1, 0], [2, 2]]


def test_mask_is_taken_as_it_is():
    match = torch.rand(3, 4) > 0.5

    assert positive_pairs(torch.zeros(3, 4), match) is match


@pytest.mark.parametrize(
    ('match', 'error', 'message'),
    [
        (None, ValueError, 'as many texts as videos'),
        (torch.zeros(4, 3).bool(), ValueError, 'shape of sim'),
        (torch.zeros(4).long(), ValueError, 'one column for each'),
        (torch.tensor([0, 1, 4]), ValueError, r'0\.\.3'),
        (torch.tensor([0, -1, 1]), ValueError, r'0\.\.3'),
        (torch.zeros(3, 4), TypeError, 'bool or integer'),
    ],
)
def test_misfit_is_refused(match, error, message):
    with pytest.raises(error, match=message):
        positive_pairs(torch.zeros(3, 4), match)


def test_similarity_must_be_a_matrix():
    with pytest.raises(ValueError, match='matrix'):
        positive_pairs(torch.zeros(3))
