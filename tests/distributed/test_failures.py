"""Who is named when a run of several processes cannot go on."""

import pytest

from mmtvr.processes import LONG, Report
from mmtvr.processes.verdict import View, judge

TIMEOUT = 10.0


def view(rank, idle=0.0, silent=0.0, **more):
    report = Report(
        rank=rank,
        machine=f'machine{rank}',
        pid=100 + rank,
        leads_group=True,
        idle=idle,
        **more,
    )
    return View(report, silent)


def blamed(*views, **options):
    verdict = judge(views, TIMEOUT, **options)
    return verdict and [each.report.rank for each in verdict.culprits]


def test_who_progresses_is_left_alone():
    assert blamed(view(0), view(1, idle=9)) is None


def test_waiting_for_one_that_progresses_is_no_stall():
    assert blamed(view(0, idle=1000, waiting=True), view(1, idle=9)) is None


def test_a_silent_process_is_named():
    assert blamed(view(0, idle=11, waiting=True), view(1, silent=11)) == [1]


def test_silence_counts_earlier_for_who_knows_of_a_fault():
    views = view(0, waiting=True), view(1, silent=4)
    assert blamed(*views) is None
    assert blamed(*views, silence=3) == [1]


def test_the_one_that_does_not_wait_for_others_is_named():
    waiting = view(0, idle=12, waiting=True), view(2, idle=12, waiting=True)
    assert blamed(*waiting, view(1, idle=11)) == [1]


def test_the_one_that_is_furthest_behind_is_named():
    assert blamed(view(0, idle=11, step=8), view(1, idle=11, step=7)) == [1]


def test_all_are_named_where_nothing_tells_them_apart():
    assert blamed(view(0, idle=11), view(1, idle=11)) == [0, 1]


def test_long_work_has_more_time():
    views = view(0, idle=39, waiting=True), view(1, idle=39, patience=LONG)
    assert blamed(*views) is None
    late = view(0, idle=41, waiting=True), view(1, idle=41, patience=LONG)
    assert blamed(*late) == [1]


@pytest.mark.parametrize('state', ['done', 'stopped'])
def test_who_has_ended_holds_nobody_up(state):
    assert blamed(view(0), view(1, silent=1000, state=state)) is None


def test_a_failed_process_is_named_with_its_error():
    verdict = judge(
        [view(0), view(1, state='failed', error='ValueError: x')], TIMEOUT
    )
    assert 'process 1 (machine machine1, pid 101) failed' in str(verdict)
    assert 'ValueError: x' in str(verdict)


def test_the_message_says_what_each_was_doing_last():
    verdict = judge(
        [
            view(0, idle=12, waiting=True, doing='in step 7', where='a.py:1'),
            view(1, silent=12, doing='loading batch 8', where='b.py:2 get'),
        ],
        TIMEOUT,
    )
    lines = str(verdict).splitlines()
    assert lines[0].endswith('pid 101) gave no sign of life for 12 s')
    assert lines[1] == '  process 1 was loading batch 8, at b.py:2 get'
    assert lines[2] == '  process 0 was in step 7, at a.py:1'
