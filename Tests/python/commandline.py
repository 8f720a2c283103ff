"""tollgate as a user runs it, for the tests of its commands."""

import json
import os
import pty
import subprocess

import pytest
from conftest import ROOT
from frame_layout import frame
from scripted_daemon import ScriptedDaemon, request_id

TOLLGATE = os.environ.get("TOLLGATE", str(ROOT / ".build/debug/tollgate"))
OK, NOT_DONE, DENIED, USAGE, BAD_DATA, NO_INPUT = 0, 1, 2, 64, 65, 66
UNREACHABLE, UNEXPECTED, OUTPUT, TRY_AGAIN, FORBIDDEN, CONFIGURATION = 69, 70, 74, 75, 77, 78
PRO = ("--organization", "acme", "--plan", "pro_tier")


class CallScript:
    """A peer that answers CALL as a test says, and knows what it was asked.

    `answers` has for each call an object, a status with its detail, or a function of the request
    that gives one of these; what it has not is refused as not found."""

    def __init__(self):
        self.answers, self.calls = {}, []
        self.peer = ScriptedDaemon(self.answer)

    def answer(self, _, asked):
        assert asked[4] == 0x50, "it is no CALL"
        request = json.loads(asked[16:])
        self.calls.append(request)
        said = self.answers.get(request["call"], (16, "there is no such thing"))
        said = said(request) if callable(said) else said
        status, body = said if isinstance(said, tuple) else (0, json.dumps(said))
        return frame(0x50 | 0x80, request_id(asked), body.encode(), status=status)

    def last(self):
        """The last call, without its name."""
        return {name: value for name, value in self.calls[-1].items() if name != "call"}


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
        return self.typed(None, *arguments, env=env)[0]

    def typed(self, keys, *arguments, env=None):
        """What a terminal is sent, and the exit code, when somebody types `keys`. Without, nobody
        is there, and standard error is no terminal."""
        ours, theirs = pty.openpty()
        alone = keys is None
        process = subprocess.Popen(
            [TOLLGATE, *map(str, arguments)], stdin=subprocess.DEVNULL if alone else theirs,
            stdout=theirs, stderr=subprocess.PIPE if alone else theirs,
            env=self.env | (env or {}))
        os.close(theirs)
        sent = b""
        if not alone:
            os.write(ours, keys.encode())
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
        return sent.decode(), process.returncode

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


@pytest.fixture
def script():
    """A scripted daemon, and tollgate with its socket in the environment: `script.cli`."""
    made = CallScript()
    made.cli = Cli(None)
    with made.peer:
        made.cli.env["TOLLGATE_ADMIN_SOCKET"] = made.peer.path
        yield made
