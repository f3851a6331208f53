"""How features are kept, and the vectors of the first stage."""

import numpy as np
import pytest

from mmtvr.search.stores.base import pack_tokens, part_vectors, unpack_tokens


@pytest.mark.parametrize(
    ('precision', 'error', 'size'),
    [('float16', 3e-4, 2 * 32), ('int8', 4e-3, 32 + 2)],
)
def test_tokens_come_back_within_their_precision(precision, error, size):
    tokens = np.random.default_rng(0).standard_normal((7, 32))
    tokens = (tokens / np.linalg.norm(tokens, axis=1)[:, None]).astype('f4')
    packed = pack_tokens(tokens, precision)
    assert len(packed) == 7 * size
    back = unpack_tokens(packed, 32, precision)
    assert back.dtype == np.float32
    assert np.abs(back - tokens).max() < error


@pytest.mark.parametrize('precision', ['float16', 'int8'])
def test_no_tokens_come_back_as_none(precision):
    packed = pack_tokens(np.zeros((0, 32), np.float32), precision)
    assert unpack_tokens(packed, 32, precision).shape == (0, 32)


def test_parts_are_means_in_the_order_of_time():
    tokens = np.eye(4, dtype=np.float32)
    pooled = np.full(4, 0.5, np.float32)
    assert part_vectors(pooled, tokens, 1).tolist() == [pooled.tolist()]
    assert part_vectors(pooled, tokens, 4).tolist() == tokens.tolist()
    two = part_vectors(pooled, tokens, 2)
    half = np.sqrt(0.5, dtype=np.float32)
    expected = [[half, half, 0, 0], [0, 0, half, half]]
    np.testing.assert_allclose(two, expected, rtol=1e-6)
    assert len(part_vectors(pooled, tokens, 9)) == 4
