import torch

from mmtvr.ops.removal import move_to_front, removable_words, remove_words


def test_special_tokens_and_padding_are_not_removable():
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]).bool()
    assert removable_words(mask).int().tolist() == [
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    assert removable_words(mask, lead=0).int().tolist() == [
        [1, 1, 1, 0, 0],
        [1, 0, 0, 0, 0],
    ]


def test_what_stays_moves_to_the_front_in_order():
    keep = torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1]]).bool()
    ids = torch.arange(8).view(2, 4)
    mask, moved, none, wide = move_to_front(
        keep, ids, None, ids[..., None].expand(2, 4, 3)
    )
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert moved[0].tolist() == [0, 2, 3]
    assert moved[1, 0] == 7
    assert none is None
    assert torch.equal(wide[..., 2], moved)


def test_nothing_left_still_has_a_shape():
    mask, ids = move_to_front(torch.zeros(2, 3).bool(), torch.ones(2, 3))
    assert mask.shape == ids.shape == (2, 1)
    assert not mask.any()


def test_words_go_with_their_weight():
    tokens = torch.tensor([[9, 1, 2, 3, 8, 0]])
    mask = tokens > 0
    weight = torch.tensor([[1.0, 1, 2, 2, 1, 0]])
    removed = torch.tensor([[0, 0, 1, 0, 0, 0]]).bool()
    tokens, mask, weight = remove_words(tokens, mask, weight, removed)
    assert tokens.tolist() == [[9, 1, 3, 8]]
    assert mask.all()
    assert weight.tolist() == [[1, 1, 2, 1]]


def test_a_row_of_a_paragraph_without_words_is_not_needed():
    tokens = torch.tensor([[[9, 1, 2, 8], [9, 3, 8, 0]]])
    mask = tokens > 0
    removed = tokens == 3
    tokens, mask, _ = remove_words(tokens, mask, None, removed)
    assert tokens[0, 0].tolist() == [9, 1, 2, 8]
    assert mask[0].any(1).tolist() == [True, False]
