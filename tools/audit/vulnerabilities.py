"""Report known vulnerabilities of the installed packages.

``python tools/audit/vulnerabilities.py`` asks pip-audit (extra ``audit``) and
says how many packages it could look up. pip-audit itself says "no known
vulnerabilities" also where its service has answered for none of them. This is
a report: the exit status is 0 whatever it says.
"""

import json
import subprocess
import sys

SECONDS = 120


def describe(answer: dict) -> list[str]:
    """Summarize the JSON of pip-audit as lines to print."""
    packages = answer['dependencies']
    skipped = [each for each in packages if 'skip_reason' in each]
    faulty = [each for each in packages if each.get('vulns')]
    looked_up = len(packages) - len(skipped)
    lines = [
        f'{each["name"]} {each["version"]}: {fault["id"]}, fixed in '
        f'{", ".join(fault.get("fix_versions") or ["no version yet"])}'
        for each in faulty
        for fault in each['vulns']
    ]
    if not looked_up:
        lines.append(
            f'NOT AUDITED: none of {len(packages)} packages could be looked up'
        )
    else:
        lines.append(
            f'{looked_up} of {len(packages)} packages looked up, '
            f'{len(faulty)} with known vulnerabilities'
        )
    if skipped:
        names = ', '.join(each['name'] for each in skipped[:5])
        more = ', ...' if len(skipped) > 5 else ''
        lines.append(f'not looked up: {len(skipped)}: {names}{more}')
    return lines


def audit() -> list[str]:
    """Run pip-audit on this environment."""
    command = [sys.executable, '-m', 'pip_audit', '--format', 'json']
    try:
        done = subprocess.run(
            [*command, '--progress-spinner', 'off'],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return describe(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return [f'NOT AUDITED: no answer within {SECONDS} s']
    except ValueError:
        said = done.stderr.strip().splitlines() or ['no output']
        return [f'NOT AUDITED: {said[-1]}']


if __name__ == '__main__':
    print('\n'.join(audit()))
