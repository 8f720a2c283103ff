"""A real daemon with a ledger and an audit log, and what the log says."""

import contextlib
import json
import os
import shutil
import subprocess

import ledger_daemon
from commandline import TOLLGATE
from ledger_daemon import LedgerDaemon, LedgerPlace


class AuditPlace(LedgerPlace):
    """`size`: as of a ledger's; then both lie on that disk."""

    def __init__(self, size=None):
        super().__init__(size)
        self.audit = self.path / "audit"
        self.audit.mkdir(mode=0o700)
        self.settings = {}

    def policy(self, settings, policy):
        audit = {"path": str(self.audit), "segment_bytes": 1 << 20, **self.settings}
        return super().policy(settings, policy) + f"audit: {json.dumps(audit)}\n"


@contextlib.contextmanager
def daemon(place=None, *, audit=None, **options):
    """One for a `with`; it is to end well, unless the test ended it."""
    own = place is None
    place = place or AuditPlace()
    place.settings = audit or {}
    made = LedgerDaemon(place, **options)
    try:
        yield made
        if made.process.returncode is None:
            assert made.process.poll() is None, "the daemon died: " + made.logged()
            assert made.stop() == 0
    finally:
        made.remove()
        if own:
            place.remove()


def ended(*words, code=0, environment=None):
    """The command, which ended with `code`."""
    done = subprocess.run(
        [TOLLGATE, *map(str, words)], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **(environment or {})})
    assert done.returncode == code, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done


def tollgate(*words, code=0, environment=None):
    """What the command prints; it ends with `code`."""
    return ended(*words, code=code, environment=environment).stdout


def records(place, *words):
    """Oldest first."""
    text = tollgate(
        "audit", "query", "--directory", place.audit, "--format", "jsonl", "--all", *words)
    return [json.loads(line) for line in text.splitlines()]


def verify(place, *words, code=0):
    return json.loads(
        tollgate("audit", "verify", "--directory", place.audit, "--json", *words, code=code))


def segments(place):
    return sorted(place.audit.glob("audit.*.log"))


def copy_of(place, to):
    shutil.copytree(place.audit, to)
    return to


PLAN, SMALL, POLICY = ledger_daemon.PLAN, ledger_daemon.SMALL, ledger_daemon.POLICY
