"""Distillation against numpy, and at its ends."""

import numpy as np
import torch

from mmtvr.losses import (
    frame_distillation,
    pearson_distance,
    similarity_distillation,
)


def test_pearson_distance_is_that_of_numpy():
    torch.manual_seed(0)
    p, q = torch.randn(4, 6).double(), torch.randn(4, 6).double()
    mask = torch.ones(4, 6).bool()
    mask[1, 3:] = False
    got = pearson_distance(p, q, mask)
    for row in range(4):
        keep = mask[row].numpy()
        want = 1 - np.corrcoef(p[row].numpy()[keep], q[row].numpy()[keep])
        np.testing.assert_allclose(got[row], want[0, 1])


def test_a_constant_row_has_no_correlation_and_finite_gradients():
    p = torch.ones(2, 3, requires_grad=True)
    got = pearson_distance(p, torch.rand(2, 3))
    got.sum().backward()
    assert got.tolist() == [1, 1]
    assert p.grad.isfinite().all()


def test_similarities_are_learned_up_to_the_teachers():
    torch.manual_seed(0)
    teacher = 5 * torch.randn(4, 3).double()
    student = torch.randn(4, 3).double().requires_grad_()
    assert similarity_distillation(teacher, teacher).abs() < 1e-12
    slow = 0
    for s, t in ((student, teacher), (student.T, teacher.T)):
        rows = [
            1 - np.corrcoef(a.softmax(0).tolist(), b.softmax(0).tolist())[0, 1]
            for a, b in zip(s, t, strict=True)
        ]
        slow += np.mean(rows)
    value = similarity_distillation(student, teacher.requires_grad_())
    np.testing.assert_allclose(value.item(), slow)
    value.backward()
    assert student.grad.isfinite().all()
    assert student.grad.any()
    assert teacher.grad is None


def test_frames_cost_their_cross_entropy_and_padding_nothing():
    weight = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    teacher = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]]).bool()
    got = frame_distillation(weight, teacher, mask)
    want = -(0.5 * np.log(0.5) + 0.5 * np.log(0.25)) / 3
    torch.testing.assert_close(got, torch.tensor([want, 0.0]).float())
