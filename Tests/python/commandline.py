"""tollgate as a user runs it, for the tests of its commands."""

import json
import os
import pty
import subprocess

import pytest
from conftest import ROOT

TOLLGATE = os.environ.get("TOLLGATE", str(ROOT / ".build/debug/tollgate"))
OK, DENIED, USAGE, BAD_DATA, NO_INPUT = 0, 2, 64, 65, 66
UNREACHABLE, UNEXPECTED, OUTPUT, FORBIDDEN, CONFIGURATION = 69, 70, 74, 77, 78
PRO = ("--organization", "acme", "--plan", "pro_tier")


class Cli:
    """tollgate, with the sockets of one daemon in its environment."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.env = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        if daemon is not None:
            self.env |= {"TOLLGATE_SOCKET": daemon.data, "TOLLGATE_ADMIN_SOCKET": daemon.admin,
                         "TOLLGATE_CONFIG": str(daemon.policy)}

    def __call__(self, *arguments, code=OK, stdin="", env=None):
        done = subprocess.run(
            [TOLLGATE, *map(str, arguments)], input=stdin, capture_output=True, text=True,
            env=self.env | (env or {}), timeout=60)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments, **options):
        """What it prints is one JSON value, and nothing else."""
        done = self(*arguments, "--json", **options)
        assert done.stderr == ""
        return json.loads(done.stdout)

    def error(self, *arguments, code, **options):
        """The error as people and as programs see it; both are the same, and data is neither."""
        people = self(*arguments, code=code, **options)
        assert people.stdout == "" and people.stderr != ""
        programs = self(*arguments, "--json", code=code, **options)
        said = json.loads(programs.stderr)
        assert said["error"].splitlines()[0] in people.stderr
        assert said.get("next", "").splitlines()[:1] == [] or said["next"] in people.stderr
        return people.stderr

    def on_terminal(self, *arguments, env=None):
        """What a terminal is sent."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [TOLLGATE, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=theirs,
            stderr=subprocess.PIPE, env=self.env | (env or {}))
        os.close(theirs)
        sent = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # The other end was closed.
                break
            if not part:
                break
            sent += part
        os.close(ours)
        process.communicate(timeout=60)
        return sent.decode()

    def token_file(self, *options):
        path = self.daemon.directory / "token"
        path.write_text(self("token", "mint", "--user", "ada", *options).stdout)
        return path


@pytest.fixture
def cli(daemon):
    return Cli(daemon)


@pytest.fixture
def alone():
    """Without a daemon."""
    return Cli(None)
