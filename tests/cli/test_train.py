from mmengine.config import Config

from mmtvr.cli.train import describe_earlier_run


def test_a_run_that_is_written_over_is_named(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), resume=False))
    assert describe_earlier_run(cfg) == ''
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_7.pth\n')
    said = describe_earlier_run(cfg)
    for part in (str(tmp_path), 'epoch_7.pth', '--resume', '--work-dir'):
        assert part in said
    cfg.resume = True
    assert describe_earlier_run(cfg) == ''
