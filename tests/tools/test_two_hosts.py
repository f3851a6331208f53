"""Two network namespaces with a cable between them stand for two hosts."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
ADDRESSES = {'a': '10.77.0.1', 'b': '10.77.0.2'}
PORT = 29511
SECONDS = 240
LAUNCH = """
exec python -m mmtvr.distributed.torchrun --nnodes=$NNODES \\
    --node_rank=$NODE_RANK --master_addr=$MASTER_ADDR --master_port=$PORT \\
    --nproc_per_node=1 "$1"
"""
WORK = """
import sys, time
import torch
from torch import distributed as dist
from mmtvr.cli.command import run_command
from mmtvr.distributed.launch import open_process_group
from mmtvr.distributed.phase import phase


def work():
    open_process_group('gloo', timeout=4.0)
    while True:
        dist.all_reduce(torch.ones(1))
        print('met', flush=True)
        phase.enter('in the step of a test')
        time.sleep(0.1)


sys.exit(run_command(work))
"""


class Hosts:
    """Two namespaces, named by the process of the tests."""

    def __init__(self, folder):
        self.folder = folder
        self.names = {host: f'mmtvr-{os.getpid()}{host}' for host in 'ab'}
        self.launchers = {}

    def ip(self, *arguments):
        subprocess.run(['ip', *arguments], check=True, capture_output=True)

    def join(self):
        a, b = self.names.values()
        for name in (a, b):
            self.ip('netns', 'add', name)
        end = ['veth', 'peer', 'name', 'veth-b', 'netns', b]
        self.ip('link', 'add', 'veth-a', 'netns', a, 'type', *end)
        for host, name in self.names.items():
            device, address = f'veth-{host}', f'{ADDRESSES[host]}/24'
            self.ip('-n', name, 'addr', 'add', address, 'dev', device)
            # The store and the loading workers use it within a host.
            self.ip('-n', name, 'link', 'set', 'lo', 'up')
            self.ip('-n', name, 'link', 'set', device, 'up')

    def cut(self):
        self.ip('-n', self.names['b'], 'link', 'set', 'veth-b', 'down')

    def start(self, *command):
        """Start the same command on both hosts, as a user would."""
        for rank, (host, name) in enumerate(self.names.items()):
            named = f'hostname host-{host}; exec "$@"'
            enter = ['ip', 'netns', 'exec', name, 'unshare', '--uts']
            outputs = [
                self.path(host, kind).open('w')
                for kind in ('stdout', 'stderr')
            ]
            self.launchers[host] = subprocess.Popen(
                [*enter, 'sh', '-c', named, 'sh', *map(str, command)],
                env={
                    **os.environ,
                    'NNODES': '2',
                    'NODE_RANK': str(rank),
                    'MASTER_ADDR': ADDRESSES['a'],
                    'PORT': str(PORT),
                    'OMP_NUM_THREADS': '1',
                    'CUDA_VISIBLE_DEVICES': '',
                    'HF_HUB_OFFLINE': '1',
                    'PATH': f'{Path(sys.executable).parent}:'
                    f'{os.environ["PATH"]}',
                    'PYTHONPATH': str(ROOT),
                },
                stdout=outputs[0],
                stderr=outputs[1],
            )

    def path(self, host, kind):
        return self.folder / f'{host}.{kind}'

    def read(self, host, kind):
        return self.path(host, kind).read_text()

    def processes(self, host):
        listed = subprocess.run(
            ['ip', 'netns', 'pids', self.names[host]],
            capture_output=True,
            text=True,
        )
        for pid in map(int, listed.stdout.split()):
            with contextlib.suppress(psutil.Error):
                if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    yield psutil.Process(pid)

    def kill(self, host):
        for process in self.processes(host):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def remove(self):
        for host, name in self.names.items():
            self.kill(host)
            if host in self.launchers:
                self.launchers[host].wait()
            subprocess.run(['ip', 'netns', 'del', name], capture_output=True)


@pytest.fixture
def hosts(tmp_path):
    if not shutil.which('ip') or not shutil.which('unshare'):
        pytest.skip('needs ip (iproute2) and unshare (util-linux)')
    pair = Hosts(tmp_path)
    try:
        pair.join()
    except subprocess.CalledProcessError as error:
        pair.remove()
        pytest.skip(f'needs the right to make network namespaces: {error}')
    yield pair
    pair.remove()


@pytest.mark.slow
def test_two_hosts_train_as_one_process_does(
    hosts, tiny_config, tiny_videos, fork_tool, tmp_path
):
    # 16 captions: two batches of eight, none of which is filled up.
    captions = json.loads((tiny_videos / 'train_9k.json').read_text())
    captions['video0.mp4'].append('a dog swims in a lake')
    (tmp_path / 'train.json').write_text(json.dumps(captions))

    def options(work, batch_size, rate=0.1):
        return [
            *('--work-dir', tmp_path / work, '--seed', 0, '--cfg-options'),
            'train_cfg.max_epochs=1',
            # Adam makes whole steps of rounding errors in tiny gradients.
            'optim_wrapper.optimizer.type=SGD',
            f'optim_wrapper.optimizer.lr={rate}',
            f'train_dataloader.dataset.ann_file={tmp_path / "train.json"}',
            # Training draws frames by the place of a sample in its rank.
            'train_dataloader.dataset.pipeline.0.test_mode=True',
            'env_cfg.dist_cfg.timeout=60',
            f'train_dataloader.batch_size={batch_size}',
        ]

    def weights(work):
        return torch.load(tmp_path / work / 'epoch_1.pth')['state_dict']

    train = ROOT / 'tools/dist_train.sh'
    hosts.start(train, tiny_config, 1, *options('shared', 4))
    fork_tool('train.py', tiny_config, *options('alone', 8))
    fork_tool('train.py', tiny_config, *options('start', 8, rate=0.0))
    for host, launcher in hosts.launchers.items():
        assert launcher.wait(SECONDS) == 0, hosts.read(host, 'stderr')
    assert 'Epoch(train) [1][2/2]' in hosts.read('a', 'stdout')
    start, alone, shared = map(weights, ('start', 'alone', 'shared'))
    moved = {name: (alone[name] - start[name]).abs().max() for name in alone}
    assert max(moved.values()) > 1e-3
    torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('fault', ['cut link', 'killed host'])
def test_the_loss_of_a_host_ends_both_with_one_message(hosts, tmp_path, fault):
    work, launch = tmp_path / 'work.py', tmp_path / 'launch.sh'
    work.write_text(WORK)
    launch.write_text(LAUNCH)
    hosts.start('bash', launch, work)
    deadline = time.monotonic() + SECONDS
    while 'met\nmet' not in hosts.read('a', 'stdout'):
        assert time.monotonic() < deadline, hosts.read('a', 'stderr')
        time.sleep(0.1)
    # A host without power sends nothing, not even that it closes connections.
    hosts.cut()
    if fault == 'killed host':
        hosts.kill('b')
    began = time.monotonic()
    ends = 'gave no sign of life', 'has lost the connection to 10.77.0.1'
    for host, end in zip('ab', ends, strict=True):
        status = hosts.launchers[host].wait(SECONDS)
        if host == 'b' and fault == 'killed host':
            continue
        text = hosts.read(host, 'stderr')
        assert status == 1, text
        assert re.search(
            rf'error: rank 1 \(host host-b, pid \d+\) {end}', text
        )
        assert 'in the step of a test' in text
        assert len(re.findall('^error', text, re.M)) == 1, text
    # The timeout is 4 s; the machine may have other work to do.
    assert time.monotonic() - began < 30
    assert not [*hosts.processes('a'), *hosts.processes('b')]
