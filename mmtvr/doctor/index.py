"""What an index of videos holds: whether it is what was written."""

import numpy as np

from mmtvr.doctor.findings import Finding, Severity
from mmtvr.errors import SetupError
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import VideoStore, find_fault, whole_content

VIDEOS_PER_LOOK = 1024
SHOWN = 20
REBUILD = (
    'copy it again from where it is whole, or delete it and run the command '
    'that made it: mmtvr index CONFIG VIDEOS --into INDEX'
)


def check_index(address: str) -> list[Finding]:
    """Check the files, the facts and the features of an index."""
    try:
        store = open_store(address)
        damage, note = store.find_damage()
        if damage:
            found = [_finding('error', each, REBUILD) for each in damage]
            more = len(found) - SHOWN
            if more > 0:
                found[SHOWN:] = [_finding('error', f'and {more} more')]
            return found
        findings = [_finding('warning', note)] if note else []
        info = store.require_info()
        found = _check_features(store)
    except SetupError as error:
        return [_finding('error', str(error))]
    different = len(set(map(whole_content, store.list_contents())))
    text = (
        f'{store.count_files():,} videos by {info.get("name")}, '
        f'{different:,} different'
    )
    if store.count_videos() > different:
        text += f', with {store.count_videos() - different:,} windows'
    return [*findings, *(found or [_finding('ok', text)])]


def _finding(severity: Severity, text: str, fix: str = '') -> Finding:
    return Finding('index', 'index', severity, text, fix)


def _check_features(store: VideoStore) -> list[Finding]:
    """Read all features: also an index without checksums can be wrong."""
    entries = [each for each in store.list_files() if each.error is None]
    contents = sorted(store.list_contents())
    findings = []
    without = {each.content for each in entries} - set(contents)
    if without:
        text = f'{len(without)} videos have no features'
        findings.append(_finding('error', text, REBUILD))
    for start in range(0, len(contents), VIDEOS_PER_LOOK):
        videos = store.read_videos(contents[start : start + VIDEOS_PER_LOOK])
        fault = find_fault(videos)
        if fault:
            findings.append(_finding('error', fault, REBUILD))
    if contents and not findings:
        # The vectors of the first stage, by one search through all.
        query = np.zeros(store.require_info()['width'], np.float32)
        query[0] = 1
        store.nearest(query, 1)
    return findings
