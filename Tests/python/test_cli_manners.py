"""How every command behaves: exit codes, errors that say what to do, terminals, pipes, help."""

import json
import socket
import subprocess
import threading

import pytest
from commandline import (
    FORBIDDEN, OUTPUT, TOLLGATE, UNEXPECTED, UNREACHABLE, USAGE, alone, cli)


COMMANDS = [("check", "-o", "x"), ("usage", "x"), ("health",), ("stats",), ("top", "--count", "1"),
            ("reload",), ("stop",), ("org", "list"), ("key", "show", "acme", "x"),
            ("log",), ("export",), ("plan", "list"), ("directory", "status")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_a_daemon_every_command_says_so_and_what_to_do(alone, command, tmp_path):
    said = alone.error(*command, "--socket", tmp_path / "none", code=UNREACHABLE)
    assert "there is no socket at" in said and "start the daemon" in said and "--socket" in said
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead"))
    dead.close()
    assert "nobody listens" in alone.error(
        *command, "--socket", tmp_path / "dead", code=UNREACHABLE)
    alone.error(*command, "--socket", "x" * 200, code=USAGE)
    for bad in ("0", "-5", "abc", "600001", "99999999999999999999"):
        alone(*command, f"--timeout={bad}", code=USAGE)


@pytest.mark.parametrize("command", [("stats",), ("top",), ("reload",), ("stop",)],
                         ids=lambda command: command[0])
def test_admin_commands_are_forbidden_on_the_data_socket(cli, command):
    said = cli.error(*command, "--admin-socket", cli.daemon.data, code=FORBIDDEN)
    assert "admin socket" in said


class Listener:
    """Answers every connection with the same bytes, whatever it is asked."""

    def __init__(self, path, answer):
        self.path, self.answer = str(path), answer
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        self.peers = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer, _ = self.socket.accept()
            self.peers.append(peer)
            peer.recv(4_096)
            peer.sendall(self.answer)


def test_a_daemon_that_is_silent_or_none_is_told_apart(alone, tmp_path):
    silent = Listener(tmp_path / "silent", b"")
    said = alone.error("health", "--socket", silent.path, "--timeout", 50, code=UNREACHABLE)
    assert "in time" in said and "--timeout" in said
    web = Listener(tmp_path / "web", b"HTTP/1.1 400 Bad Request\r\n\r\n")
    said = alone.error("health", "--socket", web.path, code=UNEXPECTED)
    assert "breaks the protocol" in said


@pytest.mark.parametrize("arguments", [
    ("chek",), ("check",), ("check", "-o", "x", "--method", "GET"), ("check", "--path", "/"),
    ("check", "-o", "x", "--units", "tokens"), ("check", "-o", "x", "-u", "=1"),
    ("check", "-o", "x", "-u", "tokens=-1"), ("check", "-o", "x", "-u", f"tokens={2**40 + 1}"),
    ("check", "-o", "x", "--address", "1.2.3"), ("check", "-o", "x", "--dry"), ("usage",),
    ("top", "--interval", "0"), ("top", "--interval", "nan"), ("top", "--count", "0"),
    ("top", "--rows", "0"), ("top", "--rows", "101"), ("top", "--once", "--count", "1"),
    ("policy", "chek"), ("token", "mint"), ("stats", "--colour")])
def test_wrong_arguments_are_told_at_once(alone, arguments):
    done = alone(*arguments, code=USAGE)
    assert done.stdout == "" and "--help" in done.stderr
    done = alone(*arguments, "--json", code=USAGE)
    said = json.loads(done.stderr)
    assert done.stdout == "" and said["error"] and "--help" in said["next"]


def test_what_was_probably_meant_is_named(alone):
    assert "--dry-run" in alone("check", "-o", "x", "--dryrun", code=USAGE).stderr
    assert "--operation" in alone("check", "--oparation", "x", code=USAGE).stderr
    assert "did you mean policy?" in alone("polcy", "show", code=USAGE).stderr
    assert "did you mean inspect?" in alone("token", "inspet", code=USAGE).stderr
    said = alone("xyzzy", code=USAGE).stderr
    assert "did you mean" not in said and "check, reserve, extend" in said
    assert "did you mean change-plan?" in alone("org", "chang-plan", code=USAGE).stderr


def test_colours_are_for_terminals_that_want_them(cli):
    health = ("health",)
    assert "\x1b[32m" in cli.on_terminal(*health)
    for options, env in [(("--no-color",), {}), ((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"}),
                         (("--json",), {})]:
        assert "\x1b" not in cli.on_terminal(*health, *options, env=env)
    assert "\x1b[32m" in cli.on_terminal(*health, env={"NO_COLOR": ""})
    assert "\x1b" not in cli("health").stdout


def test_a_reader_that_goes_away_changes_nothing(cli):
    def piped(command, reader):
        script = f'"$0" {command} | {reader}; echo "${{PIPESTATUS[0]}}"'
        done = subprocess.run(["bash", "-c", script, TOLLGATE], capture_output=True, text=True,
                              env=cli.env, timeout=60)
        assert done.stderr == ""
        return done.stdout.split()[-1]

    assert piped("policy show", "head -1") == "0"
    assert piped("stats --all", "true") == "0"
    assert piped("top --interval 0.1 --json", "head -1") == "0"
    assert piped("check -o models --json", "true") == "2"


def test_output_that_cannot_be_written_is_a_failure(cli):
    with open("/dev/full", "w") as full:
        done = subprocess.run([TOLLGATE, "stats"], stdout=full, stderr=subprocess.PIPE, text=True,
                              env=cli.env)
    assert done.returncode == OUTPUT and "No space left" in done.stderr


def test_help_is_there_for_every_command(alone):
    top = alone("--help").stdout
    for text in ("Exit codes", "69", "75", "77", "78", "TOLLGATE_SOCKET",
                 "--generate-completion-script"):
        assert text in top, text
    for command, subcommands in GROUPS.items():
        assert command in top
        shown = alone(command, "--help").stdout
        assert "USAGE: tollgate " + command in shown
        for subcommand in subcommands.split():
            assert f"  {subcommand}" in shown, subcommand
            assert f"USAGE: tollgate {command} {subcommand}" in alone(
                command, subcommand, "--help").stdout


GROUPS = {
    "check": "", "usage": "", "stats": "", "top": "", "reload": "", "health": "", "stop": "",
    "version": "", "log": "", "backup": "", "import": "", "export": "", "directory": "status",
    "policy": "check show", "plan": "list show",
    "org": "create list show rename suspend resume delete change-plan cancel-plan-change"
           " set-subscription",
    "user": "create list show rename set-role suspend resume delete",
    "key": "create list show rotate edit revoke",
    "token": "issue refresh revoke mint inspect", "session": "list show revoke end",
    "revoke": "token session user organization key list", "override": "set remove list",
    "signing-key": "rotate add promote retire list", "ledger": "verify inspect repair"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_name_every_command(alone, shell, tmp_path):
    script = tmp_path / "completion"
    script.write_text(alone("--generate-completion-script", shell).stdout)
    for word in ("check", "token-file", "explain", "inspect", "no-color", "policy", "past_due",
                 "cancel-plan-change", "secret-file", "period-end", *GROUPS):
        assert word in script.read_text()
    if shell == "bash":
        subprocess.run(["bash", "-n", script], check=True)
