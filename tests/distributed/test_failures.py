"""Who is named when a run of several processes cannot go on."""

from mmtvr.distributed.failures import Report, diagnose
from mmtvr.distributed.phase import LONG

TIMEOUT = 10.0


def report(rank, **more):
    return Report(rank, f'host{rank}', 100 + rank, **more)


def failed(*reports, **options):
    diagnosis = diagnose(reports, TIMEOUT, **options)
    return diagnosis and diagnosis.failed_ranks


def test_who_progresses_is_left_alone():
    assert failed(report(0), report(1, idle=9)) is None


def test_waiting_for_one_that_progresses_is_no_stall():
    assert (
        failed(report(0, idle=1000, waiting=True), report(1, idle=9)) is None
    )


def test_a_silent_process_is_named():
    assert failed(report(0, idle=11, waiting=True), report(1, silent=11)) == [
        1
    ]


def test_silence_counts_earlier_for_who_knows_of_a_fault():
    views = report(0, waiting=True), report(1, silent=4)
    assert failed(*views) is None
    assert failed(*views, silence=3) == [1]


def test_the_one_that_does_not_wait_for_others_is_named():
    waiting = (
        report(0, idle=12, waiting=True),
        report(2, idle=12, waiting=True),
    )
    assert failed(*waiting, report(1, idle=11)) == [1]


def test_the_one_that_is_furthest_behind_is_named():
    assert failed(report(0, idle=11, step=8), report(1, idle=11, step=7)) == [
        1
    ]


def test_all_are_named_where_nothing_tells_them_apart():
    assert failed(report(0, idle=11), report(1, idle=11)) == [0, 1]


def test_long_work_has_more_time():
    views = report(0, idle=39, waiting=True), report(1, idle=39, limit=LONG)
    assert failed(*views) is None
    late = report(0, idle=41, waiting=True), report(1, idle=41, limit=LONG)
    assert failed(*late) == [1]


def test_who_has_ended_holds_nobody_up():
    assert failed(report(0), report(1, silent=1000, ended=True)) is None


def test_the_message_says_what_each_was_doing_last():
    diagnosis = diagnose(
        [
            report(
                0, idle=12, waiting=True, phase='in step 7', where='a.py:1'
            ),
            report(1, silent=12, phase='loading batch 8', where='b.py:2 get'),
        ],
        TIMEOUT,
    )
    lines = diagnosis.message.splitlines()
    assert lines[0].endswith('pid 101) gave no sign of life for 12 s')
    assert lines[1] == '  rank 1 was loading batch 8, at b.py:2 get'
    assert lines[2] == '  rank 0 was in step 7, at a.py:1'


def test_a_rank_that_was_lost_while_it_waited_is_silent_not_slow():
    views = report(0, idle=10.1), report(1, idle=0.4, silent=9.7, waiting=True)
    diagnosis = diagnose(views, TIMEOUT)
    assert diagnosis.failed_ranks == [1]
    assert 'gave no sign of life for 10 s' in diagnosis.message
