"""Training that is killed, the short version of a longer script."""

import json

import pytest


@pytest.mark.slow
def test_a_training_killed_at_random_moments_ends_as_one_left_alone(
    fork_tool, tmp_path
):
    out = tmp_path / 'kills.json'
    fork_tool('analysis/inject_kills.py', '--kills', 5, '--out', out)
    report = json.loads(out.read_text())
    assert report['kills'] == 5
    assert report['during_a_write'] >= 1
    assert report['trainings'] >= 1
    assert report['trainings_that_differ'] == 0
    assert report['compared'] > 500
