import pytest
import torch

from mmtvr.errors import SetupError
from mmtvr.search.encoder import choose_device


@pytest.mark.parametrize('name', ['gpu', 'cuda:99', 'cpu:x', ''])
def test_device_that_is_not_there_names_those_that_are(name):
    with pytest.raises(SetupError, match=rf"'{name}' cannot.*has cpu"):
        choose_device(name)


def test_device_is_a_gpu_where_there_is_one():
    want = 'cuda' if torch.cuda.is_available() else 'cpu'
    assert choose_device(None).type == want
    assert choose_device('cpu') == torch.device('cpu')
