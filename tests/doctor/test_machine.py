"""Decoders, devices, processes, disks: with faults put in by hand."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmtvr import video
from mmtvr.doctor import decoders, machine
from mmtvr.doctor.decoders import NUM_FRAMES, brightness, write_clip
from mmtvr.doctor.machine import all_reduce
from mmtvr.errors import SetupError
from mmtvr.video import UnreadableVideoError

GIBIBYTE = 2**30


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp('clips') / 'a.avi'
    assert write_clip(path, 'mpeg4')
    return path


def make_reader(frames=None, fault=None):
    class Reader:
        def __init__(self, path):
            if fault:
                raise fault

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def get_frames(self, indices):
            levels = [frames(number) for number in indices]
            return np.array(levels, np.uint8).reshape(-1, 1, 1, 1)

    return Reader


def test_a_reader_decodes_the_clip(clip):
    assert decoders.decodes(video.PyAVReader, clip)
    assert brightness(NUM_FRAMES - 1) < 256


@pytest.mark.parametrize(
    'reader',
    [
        make_reader(lambda number: 0),
        make_reader(lambda number: brightness(number + 1)),
        make_reader(fault=UnreadableVideoError('a.avi: no decoder')),
        make_reader(fault=RuntimeError('broken')),
    ],
)
def test_wrong_frames_and_faults_are_no_decoding(clip, reader):
    assert not decoders.decodes(reader, clip)


@pytest.mark.parametrize(
    ('name', 'fails', 'severity'),
    [
        ('AutoReader', [], 'ok'),
        ('AutoReader', ['av1'], 'warning'),
        ('AutoReader', ['h264'], 'error'),
        ('DecordReader', ['av1', 'h264'], 'ok'),
    ],
)
def test_what_the_default_reader_lacks_counts(name, fails, severity):
    found = decoders.judge(name, ['vp9'], fails, ['hevc'])
    assert found.severity == severity
    assert bool(found.fix) == bool(fails)
    assert 'not tried hevc' in found.text


@pytest.mark.parametrize(
    ('name', 'severity'),
    [
        ('AutoReader', 'error'),
        ('DecordReader', 'warning'),
        ('TorchCodecReader', 'ok'),
    ],
)
def test_a_reader_without_its_package(monkeypatch, name, severity):
    fault = SetupError('Reading needs x, which is missing: pip install x')
    monkeypatch.setattr(video, name, make_reader(fault=fault))
    monkeypatch.setattr(decoders.os, 'dup2', lambda *_: None)
    (found,) = decoders.check_reader(name)
    assert found.severity == severity


@pytest.mark.parametrize(
    ('has_card', 'cuda', 'severity'),
    [
        (False, None, 'ok'),
        (True, None, 'warning'),
        (True, '13.0', 'warning'),
    ],
)
def test_a_gpu_that_pytorch_does_not_use(
    monkeypatch, tmp_path, has_card, cuda, severity
):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', cuda)
    place = tmp_path if has_card else tmp_path / 'none'
    monkeypatch.setattr(machine, 'NVIDIA', place)
    found = machine.check_devices()[-1]
    assert (found.subject, found.severity) == ('GPU', severity)
    assert bool(found.fix) == has_card


def test_gpus_and_their_libraries(monkeypatch):
    gpu = SimpleNamespace(name='Some GPU', total_memory=8 * GIBIBYTE)
    fakes = dict(
        is_available=lambda: True,
        device_count=lambda: 2,
        get_device_properties=lambda number: gpu,
        mem_get_info=lambda number: (GIBIBYTE, 8 * GIBIBYTE),
        is_bf16_supported=lambda: False,
    )
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.distributed, 'is_nccl_available', lambda: False)
    monkeypatch.setattr(machine, 'find_spec', lambda name: None)
    found = {f.subject: f for f in machine.check_devices()}
    assert 'Some GPU, 8 GiB, 1 GiB free; no bfloat16' in found['GPU 1'].text
    for subject in ('GPU 0', 'GPU 1', 'nccl'):
        assert found[subject].severity == 'warning'
        assert found[subject].fix
    assert found['Triton'].severity == 'ok'
    assert 'pip install triton' in found['Triton'].fix


def test_two_processes_all_reduce():
    found = all_reduce('gloo')
    assert (found.severity, found.subject) == ('ok', 'gloo'), found.text


@pytest.mark.parametrize(
    ('program', 'text'),
    [
        ('raise SystemExit("no route")', 'process 0 failed: no route'),
        ('import time; time.sleep(600)', 'no answer within 1 s'),
    ],
)
def test_two_processes_that_do_not_meet_are_ended(program, text):
    found = all_reduce('gloo', program, seconds=5 if 'raise' in program else 1)
    assert found.severity == 'warning'
    assert text in found.text
    assert 'GLOO_SOCKET_IFNAME' in found.fix


def use_disk(monkeypatch, total, free):
    usage = SimpleNamespace(total=total, free=free)
    monkeypatch.setattr(machine.shutil, 'disk_usage', lambda path: usage)


def test_a_full_disk_is_a_warning(monkeypatch, tmp_path):
    place = tmp_path / 'not' / 'there'
    use_disk(monkeypatch, GIBIBYTE, 1000)
    found = machine.check_disk_space('machine', 'data', place, GIBIBYTE)
    assert (found.severity, '0.0 GiB' in found.text) == ('warning', True)
    use_disk(monkeypatch, GIBIBYTE, 2 * GIBIBYTE)
    found = machine.check_disk_space('machine', 'data', place, GIBIBYTE)
    assert found.severity == 'ok'
    monkeypatch.setattr(os, 'access', lambda *_: False)
    found = machine.check_disk_space('machine', 'data', place, GIBIBYTE)
    assert 'cannot be written to' in found.text


def test_little_shared_memory_is_a_warning(monkeypatch):
    use_disk(monkeypatch, 64 * 2**20, 0)
    found = machine.check_shared_memory(Path('/dev/shm'))
    assert found.severity == 'warning'
    assert '--shm-size' in found.fix


@pytest.mark.parametrize(
    ('soft', 'hard', 'fix'),
    [
        (-1, -1, ''),
        (65536, -1, ''),
        (256, -1, 'ulimit -n 4096'),
        (256, 1024, 'ulimit -n 1024'),
    ],
)
def test_few_open_files_are_a_warning(soft, hard, fix):
    found = machine.check_open_files(soft, hard)
    assert found.fix.startswith(fix)
    assert (found.severity == 'ok') == (not fix)


def test_this_machine_is_described():
    found = machine.check_machine()
    assert {'this folder', 'open files', 'memory'} <= {
        f.subject for f in found
    }
