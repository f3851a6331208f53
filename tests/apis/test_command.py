"""How a command ends."""

import subprocess
import sys

# What aborts at the interpreter's end stands for a thread of gloo.
ONE_OF_SEVERAL = """
import atexit, multiprocessing, os, sys, time
from torch import distributed as dist
from mmtvr.apis.command import run_command

def work():
    dist.init_process_group('gloo', init_method='file://' + sys.argv[1],
                            rank=0, world_size=1)
    atexit.register(os.abort)
    worker = multiprocessing.Process(target=time.sleep, args=(600,))
    worker.daemon = True
    worker.start()
    print('worker', worker.pid)

if __name__ == '__main__':
    sys.exit(run_command(work))
"""


def test_a_process_of_several_ends_without_the_end_of_the_interpreter(
    tmp_path,
):
    script = tmp_path / 'one.py'
    script.write_text(ONE_OF_SEVERAL)
    done = subprocess.run(
        [sys.executable, script, tmp_path / 'store'],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said, pid = done.stdout.split()
    assert said == 'worker'
    assert not is_running(int(pid))


def is_running(pid):
    return (
        subprocess.run(['kill', '-0', str(pid)], check=False).returncode == 0
    )
