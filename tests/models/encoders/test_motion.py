import shutil

import pytest
import torch
from safetensors.torch import save_file

from mmtvr.errors import SetupError
from mmtvr.models import CLIPFrameEncoder
from mmtvr.models.encoders.motion import FILE, FrameMotion


@pytest.fixture
def motion():
    torch.manual_seed(0)
    return FrameMotion(8, channels=4).double()


def draw(*tops, left=12):
    """A video (1, T, 3, 54, 54) of a bright square at these rows."""
    frames = torch.zeros(1, len(tops), 3, 54, 54, dtype=torch.float64)
    for number, top in enumerate(tops):
        frames[0, number, 0, top : top + 12, left : left + 12] = 1.0
    return frames


def real(frames):
    return torch.ones(frames.shape[:2]).bool()


def test_what_rests_is_the_same_everywhere_and_what_moves_is_not(motion):
    resting = motion(draw(18, 18, 18), real(draw(18, 18, 18)))
    torch.testing.assert_close(resting[0, 0], resting[0, 1])
    rising = motion(draw(24, 18, 12), real(draw(24, 18, 12)))
    falling = motion(draw(12, 18, 24), real(draw(12, 18, 24)))
    assert (rising[0, 1] - resting[0, 1]).norm() > 0.01
    assert (rising[0, 1] - falling[0, 1]).norm() > 0.01


def test_the_place_of_what_moves_does_not_matter(motion):
    one, other = draw(24, 18, left=12), draw(24, 18, left=24)
    torch.testing.assert_close(
        motion(one, real(one)), motion(other, real(other))
    )


def test_padding_of_any_content_changes_nothing(motion):
    frames = draw(24, 18, 12, 40)
    mask = torch.tensor([[True, True, True, False]])
    found = motion(frames, mask)
    other = frames.clone()
    other[:, 3] = torch.nan
    assert torch.equal(motion(other, mask), found)
    torch.testing.assert_close(
        motion(frames[:, :3], mask[:, :3]), found[:, :3]
    )
    assert not found[:, 3].any()


@pytest.mark.parametrize('frames', [draw(18), draw(18, 18), draw(18)[:0]])
def test_gradients_are_finite_where_nothing_moves(motion, frames):
    motion(frames, real(frames)).sum().backward()
    for parameter in motion.parameters():
        assert parameter.grad.isfinite().all()


def test_encoder_adds_motion_and_loads_its_weights(tiny_clip, tmp_path):
    frames, mask = torch.randn(2, 3, 3, 32, 32), torch.ones(2, 3).bool()
    plain = CLIPFrameEncoder(str(tiny_clip))(frames, mask)
    folder = tmp_path / 'clip'
    shutil.copytree(tiny_clip, folder)
    weights = FrameMotion(32).state_dict()
    save_file(weights, folder / FILE)
    encoder = CLIPFrameEncoder(str(folder), motion={})
    assert torch.equal(encoder.motion.conv1.weight, weights['conv1.weight'])
    found = encoder(frames, mask)
    expected = torch.nn.functional.normalize(
        plain.tokens + encoder.motion(frames, mask), dim=-1
    )
    torch.testing.assert_close(found.tokens, expected)
    with pytest.raises(SetupError, match=r'motion\.safetensors does not fit'):
        CLIPFrameEncoder(str(folder), motion=dict(channels=4))
