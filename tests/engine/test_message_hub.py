import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from mmtvr.engine.checkpointing import (
    deserialize_message_hub,
    serialize_message_hub,
    to_plain,
)


@pytest.fixture
def hub(request):
    hub = MessageHub.get_instance(request.node.name)
    for value in (3, 1.5):
        hub.update_scalar('train/loss', value)
    hub.update_scalar('val/R1', np.float64(20), resumed=False)
    hub.update_info('best', ('epoch 1', {'R1': np.float32(0.5)}))
    hub.update_info('eta', np.float64(2.5))
    return hub


def saved_and_loaded(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_a_hub_survives_a_file_without_code(hub, request):
    state = saved_and_loaded(serialize_message_hub(hub.state_dict()))
    again = MessageHub.get_instance(request.node.name + ' again')
    again.load_state_dict(deserialize_message_hub(state))
    assert again.get_info('best') == ('epoch 1', {'R1': 0.5})
    assert again.get_info('eta') == 2.5
    history = again.get_scalar('train/loss')
    assert history.mean() == 2.25
    assert history.current() == 1.5
    again.update_scalar('train/loss', 4)
    assert [part.tolist() for part in history.data] == [[3, 1.5, 4], [1, 1, 1]]
    assert 'val/R1' not in again.log_scalars


def test_a_hub_of_mmengine_itself_stays_as_it_is(hub):
    state = hub.state_dict()
    assert deserialize_message_hub(state) == state


def test_what_is_not_plain_is_left_out_and_named(hub, caplog):
    hub.update_info('thing', object())
    with caplog.at_level(logging.WARNING):
        state = serialize_message_hub(hub.state_dict())
    assert 'thing' not in state['runtime_info']
    assert 'thing' not in state['resumed_keys']


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (np.int64(3), 3),
        (np.array([[1.0, 2.0]]), [[1.0, 2.0]]),
        (Path('a/b'), 'a/b'),
        ({'x': (np.bool_(True), None)}, {'x': (True, None)}),
        ('text', 'text'),
    ],
)
def test_values_become_plain(value, expected):
    found = to_plain(value)
    assert found == expected
    assert type(found) is type(expected)
