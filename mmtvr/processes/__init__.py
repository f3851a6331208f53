"""Several processes that watch over one another."""

from mmtvr.processes.activity import LONG, Activity, activity
from mmtvr.processes.board import Board
from mmtvr.processes.following import EndWithParent
from mmtvr.processes.report import Report
from mmtvr.processes.watchdog import Watchdog, current_watchdog

__all__ = [
    'LONG',
    'Activity',
    'Board',
    'EndWithParent',
    'Report',
    'Watchdog',
    'activity',
    'current_watchdog',
]
