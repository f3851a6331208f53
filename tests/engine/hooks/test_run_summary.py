from types import SimpleNamespace

from mmengine.logging import MessageHub

from mmtvr.engine import ResultTableHook, RunSummaryHook
from mmtvr.engine.hooks.run_summary import describe_command


def test_a_run_folder_explains_itself(request, tmp_path, monkeypatch):
    monkeypatch.setattr('sys.argv', ['/bin/mmtvr', 'train', 'my config.py'])
    runner = SimpleNamespace(
        message_hub=MessageHub.get_instance(request.node.name),
        experiment_name='my config_20260101_000000',
        timestamp='20260101_000000',
        cfg=SimpleNamespace(filename='my config.py'),
        work_dir=str(tmp_path),
        train_dataloader=SimpleNamespace(dataset=range(768), batch_size=64),
        val_loop=None,
        max_iters=12,
        iter=0,
        epoch=0,
    )
    page, hook = tmp_path / 'run_summary.md', RunSummaryHook()
    hook.before_train(runner)
    text = page.read_text()
    for part in (
        "mmtvr train 'my config.py'",
        '768 samples, 12 of 12 steps',
        'No validation yet',
        f"mmtvr train 'my config.py' --work-dir {tmp_path} --resume",
        'torch ',
    ):
        assert part in text
    runner.iter, runner.epoch = 12, 1
    metrics = {'retrieval/R1': 50.0, 'retrieval/v2t_R1': 40.0}
    ResultTableHook().after_val_epoch(runner, metrics)
    hook.after_val_epoch(runner, metrics)
    hook.after_train(runner)
    text = page.read_text()
    assert 'finished after 0:00:00' in text
    assert 'text to video, best (epoch 1)  50.00' in text
    # Of the beginning, not of the end.
    assert '12 of 12 steps' in text


def test_a_test_leaves_the_page_of_a_training(tmp_path):
    runner = SimpleNamespace(work_dir=str(tmp_path), iter=0, max_iters=1)
    RunSummaryHook().after_val_epoch(runner, {})
    assert not list(tmp_path.iterdir())


def test_a_command_is_what_one_types(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = str(tmp_path / 'tools' / 'train.py')
    assert describe_command([script, 'a']) == 'python tools/train.py a'
    module = str(tmp_path / 'mmtvr' / '__main__.py')
    assert describe_command([module, 'train', 'a b']) == "mmtvr train 'a b'"
