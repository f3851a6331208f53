"""A student with a frozen teacher."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmtvr.errors import SetupError
from mmtvr.models import FrameAggregation
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

WIDTH, WORDS, FRAMES = 32, 6, 3


@pytest.fixture
def student(tiny_clip, tmp_path):
    """A student whose teacher is a saved DMAE model."""
    towers = {
        side: dict(type=f'mmtvr.CLIP{name}Encoder', clip=str(tiny_clip))
        for side, name in (
            ('text_encoder', 'Text'),
            ('frame_encoder', 'Frame'),
        )
    }
    teacher = dict(
        type='mmtvr.TextVideoRetriever',
        head=dict(type='mmtvr.DMAEHead', embed_dims=WIDTH),
        contrastive_loss=dict(type='mmtvr.NegNCELoss'),
        **towers,
    )
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    path = tmp_path / 'teacher.pth'
    torch.save(dict(state_dict=MODELS.build(teacher).state_dict()), path)
    return MODELS.build(
        dict(
            type='mmtvr.DistilledRetriever',
            temporal=dict(type='mmtvr.FrameAggregation', embed_dims=WIDTH),
            head=dict(type='mmtvr.CosineHead'),
            contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
            teacher=teacher,
            teacher_checkpoint=str(path),
            **towers,
        )
    )


@pytest.fixture
def inputs():
    """Four captions of three videos, as the preprocessor gives them."""
    random = torch.Generator().manual_seed(0)
    frame_mask = torch.ones(3, FRAMES).bool()
    frame_mask[0, 2:] = False
    return dict(
        frames=torch.randint(
            256, (3, FRAMES, 3, 32, 32), generator=random
        ).byte(),
        frame_mask=frame_mask,
        tokens=torch.randint(200, (4, WORDS), generator=random),
        token_mask=torch.ones(4, WORDS).bool(),
        video_of_text=torch.tensor([0, 1, 1, 2]),
        video_ids=torch.tensor([4, 9, 7]),
    )


def test_teacher_teaches_and_stays_out_of_the_checkpoint(student, inputs):
    student.init_weights()
    names = set(student.state_dict())

    losses = student(inputs, mode='loss')
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()

    assert {'loss_distillation', 'loss_frames'} < set(losses)
    assert total.isfinite()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
    (teacher,) = student._teacher
    assert not any(p.requires_grad or p.grad for p in teacher.parameters())
    assert set(student.state_dict()) == names
    assert not any('teacher' in name for name in names)


def test_features_need_no_teacher(student, inputs):
    student.teacher_checkpoint = 'gone.pth'
    text, video = student(inputs, mode='tensor')
    assert student.similarity(text, video).isfinite().all()
    with pytest.raises(SetupError, match=r'gone\.pth'):
        student.init_weights()


def test_a_checkpoint_of_another_model_is_named(student, tmp_path):
    path = tmp_path / 'teacher.pth'
    torch.save(dict(state_dict={'x': torch.zeros(1)}), path)
    with pytest.raises(SetupError, match='does not fit the config'):
        student.init_weights()


def test_aggregation_is_the_weighted_sum_and_ignores_padding():
    torch.manual_seed(0)
    model = FrameAggregation(4, temperature=0.5).double()
    frames = torch.nn.functional.normalize(torch.randn(2, 3, 4), dim=-1)
    frames = frames.double()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]]).bool()
    video = TokenFeatures(frames, mask, frames.mean(1))

    out = model(video)

    score = model.score(frames[0, :2]).squeeze(-1)
    vector = (score / 0.5).softmax(0) @ frames[0, :2]
    torch.testing.assert_close(out.pooled[0], vector / vector.norm())
    torch.testing.assert_close(out.weight[0, :2], score.softmax(0))
    other = video._replace(
        tokens=frames.masked_fill(~mask[..., None], float('nan'))
    )
    torch.testing.assert_close(model(other).pooled, out.pooled)
    nothing = model(video._replace(mask=mask & False))
    assert nothing.pooled.isfinite().all()
