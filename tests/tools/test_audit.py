"""What the reports on installed packages say."""

import runpy
import subprocess
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).resolve().parents[2] / 'tools/audit'


@pytest.fixture(scope='module')
def licences():
    return runpy.run_path(str(FOLDER / 'licences.py'))


@pytest.fixture(scope='module')
def vulnerabilities():
    return runpy.run_path(str(FOLDER / 'vulnerabilities.py'))


def make_package(*fields):
    about = Message()
    about['Name'] = 'some-package'
    for name, value in fields:
        about[name] = value
    return SimpleNamespace(metadata=about, version='1.0')


@pytest.mark.parametrize(
    ('fields', 'licence', 'remark'),
    [
        ([('License-Expression', 'MIT')], 'MIT', ''),
        ([('License-Expression', 'MIT OR GPL-2.0')], 'MIT OR GPL-2.0', ''),
        (
            [('License-Expression', 'MPL-2.0 AND (MIT OR ISC)')],
            *('MPL-2.0 AND (MIT OR ISC)', 'copyleft'),
        ),
        (
            [('Classifier', 'License :: OSI Approved :: MIT License')],
            *('MIT License', ''),
        ),
        ([('License', 'LGPLv3+\nlong text')], 'LGPLv3+', 'copyleft'),
        (
            [
                ('Classifier', 'License :: OSI Approved'),
                ('License', 'GNU General Public License'),
            ],
            *('GNU General Public License', 'copyleft'),
        ),
        ([], 'says nothing', 'look it up'),
    ],
)
def test_licences_are_found_and_judged(licences, fields, licence, remark):
    package = make_package(*fields)
    assert licences['find_licence'](package) == licence
    _, remarks = licences['draw']([package])
    assert [line.partition(':')[0] for line in remarks] == (
        [remark] if remark else []
    )


def test_nothing_looked_up_is_not_called_clean(vulnerabilities):
    answer = {'dependencies': [{'name': 'a', 'skip_reason': 'not found'}]}
    lines = vulnerabilities['describe'](answer)
    assert lines[0].startswith('NOT AUDITED: none of 1 packages')


def test_vulnerabilities_are_listed_with_what_mends_them(vulnerabilities):
    answer = {
        'dependencies': [
            {
                'name': 'a',
                'version': '1',
                'vulns': [{'id': 'PYSEC-1', 'fix_versions': ['2']}],
            },
            {'name': 'b', 'version': '1', 'vulns': []},
            {'name': 'c', 'skip_reason': 'local'},
        ]
    }
    assert vulnerabilities['describe'](answer) == [
        'a 1: PYSEC-1, fixed in 2',
        '2 of 3 packages looked up, 1 with known vulnerabilities',
        'not looked up: 1: c',
    ]


@pytest.mark.parametrize('fault', ['silence', 'complaint'])
def test_without_its_service_it_says_so(vulnerabilities, monkeypatch, fault):
    def run(command, **options):
        if fault == 'silence':
            raise subprocess.TimeoutExpired(command, 1)
        return SimpleNamespace(stdout='', stderr='x\nno route to host')

    monkeypatch.setattr(subprocess, 'run', run)
    (line,) = vulnerabilities['audit']()
    assert line.startswith('NOT AUDITED: ')
    assert ('no route' in line) == (fault == 'complaint')
