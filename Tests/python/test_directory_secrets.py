"""Secrets that the daemon makes or is given stand nowhere but in the reply that shows them and in
their own files: every one is looked for, in every spelling, in all that can be read (RELIABILITY,
K1 and L3)."""

import base64
import json
import os
import pathlib
import signal
import subprocess

import pytest
from commandline import TOLLGATE, Cli
from directory_world import DirectoryDaemon, World, call
from hardening import connect, read_reply
from tollgate import Client, wire

# Their replies show a secret, once.
SHOWN = ("key.create", "key.rotate", "token.issue", "token.refresh")
# What these are given becomes a name in the directory, and is none of its secrets.
NAMING = ("org.create", "org.rename", "user.create", "user.rename", "key.edit", "signing_key.add",
          "revoke.token", "revoke.user", "revoke.organization")
COMMANDS = [
    "org list", "org show acme", "user list acme", "user show acme ada", "key list acme",
    "session list acme ada", "revoke list acme", "override list acme", "signing-key list",
    "plan list", "plan show pro_tier", "log", "directory status", "export"
]


def spellings(secret):
    """As it is, hexadecimal, and as base64 wherever in what is encoded it begins."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        # Without the characters that also tell of what stands around it.
        inner = encoded[-(-shift * 4 // 3):len(encoded) // 4 * 4 - 4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


class Secrets:
    """Every secret of a daemon, by what it is of."""

    def __init__(self, daemon):
        self.spelled, self.raw = {}, {}
        self.add("pepper", (daemon.state / "pepper").read_bytes())
        self.add("key of an issuer", daemon.secret)
        self.add_files(daemon)

    def add_files(self, daemon):
        for path in (daemon.state / "directory/signing").iterdir():
            text = path.read_text().strip()
            self.add(path.name, base64.urlsafe_b64decode(text + "="))

    def add(self, name, secret):
        self.raw[name] = secret
        self.spelled.update({one: name for one in spellings(secret)})

    def add_key(self, name, text):
        # tg_, environment, id: anybody may see these.
        self.add(f"{name}, whole", text.encode())
        self.add(f"{name}, its secret part", text[-38:-6].encode())

    def add_tokens(self, name, tokens):
        refresh, access = tokens["refresh_token"], tokens["access_token"]
        self.add(f"{name}, refresh token", refresh.encode())
        self.add(f"{name}, refresh token without prefix", refresh.split("_")[1].encode())
        self.add(f"{name}, access token", access.encode())
        signature = access.split(".")[2]
        self.add(f"{name}, signature", base64.urlsafe_b64decode(signature + "="))

    def take(self, name, reply):
        if "secret" in reply:
            self.add_key(name, reply["secret"])
        if "refresh_token" in reply:
            self.add_tokens(name, reply)

    def __call__(self, data):
        """What is found of them."""
        data = data if isinstance(data, bytes) else str(data).encode()
        return sorted({name for spelled, name in self.spelled.items() if spelled in data})

    def texts(self):
        return [secret.decode() for secret in self.raw.values() if is_text(secret)]


def is_text(secret):
    return secret.isascii() and secret.decode().isprintable()


def world_of(daemon):
    world, secrets = World(daemon), Secrets(daemon)
    for user, text in world.keys.items():
        secrets.add_key(f"key of {user}", text)
    for user, tokens in world.tokens.items():
        secrets.add_tokens(f"tokens of {user}", tokens)
    return world, secrets


def test_the_search_finds_a_secret_in_any_spelling():
    secrets = [os.urandom(32), b"tg_live_0123456789abcdef" + base64.b16encode(os.urandom(19))]
    for secret in secrets:
        names = {one: "it" for one in spellings(secret)}
        for around in (b"", b"a", b"ab", b"abc"):
            text = around + secret + around
            for said in (text, text.hex().encode(), base64.b64encode(text),
                         base64.urlsafe_b64encode(text), text.hex().upper().encode()):
                assert any(one in said for one in names), (around, said)
            other = base64.b64encode(around + os.urandom(64)) + os.urandom(64)
            assert not any(one in other for one in names)


def everything_that_is_answered(daemon, world, secrets):
    """Replies but those that show a secret, then refusals of all that is wrong with a call."""
    for name, members in world.reads():
        yield name, daemon.call(name, **members)
    # What takes others away comes last.
    for name, members in sorted(world.changes(), key=lambda change: "delete" in change[0]):
        status, reply = daemon.call(name, **members)
        if status == 0 and name in SHOWN:
            secrets.take(name, reply)
            reply = {key: value for key, value in reply.items()
                     if key not in ("secret", "refresh_token", "access_token")}
        yield name, (status, reply)
    for text in secrets.texts():
        for name, members in [*world.reads(), *world.changes()]:
            for member in members:
                if name not in NAMING:
                    yield name, daemon.call(name, **{**members, member: text})
                yield name, daemon.call(name, **{**members, member: [text]})
            yield name, daemon.call(name, **{**members, text: text})
        yield "a call that is none", daemon.call(text)
        with connect(daemon.admin) as peer:
            for body in (text, f'{{"call":"{text}', f'{{"call":"org.show","{text}":"{text}"'):
                peer.sendall(wire.frame(wire.CALL, 7, body.encode()))
                yield "no JSON", read_reply(peer)


def said_by_checks(daemon, secrets):
    """Decisions and refusals on secrets in every place of a CHECK."""
    with Client(daemon.data, timeout=20) as client:
        for text in secrets.texts():
            for altered in (text, text[:-1], text + "x", text.swapcase()):
                for kind in ("key", "token"):
                    yield repr(client.check(altered, kind=kind, operation="chat", explain=True))
            yield repr(client.check("x", operation=text[:100]))
            yield repr(client.check("x", method="GET", path="/" + text))
            yield repr(client.usage(text[:100], text[:100]))


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_stands_where_it_does_not_belong(form, tmp_path):
    settings = {"log_level": "debug", "log_format": form}
    with DirectoryDaemon(settings=settings) as daemon:
        world, secrets = world_of(daemon)
        assert daemon.call("token.refresh", **world.theft) == (23, "log in again")
        for name, answer in everything_that_is_answered(daemon, world, secrets):
            echoed = secrets(json.dumps(answer) if name != "no JSON" else answer[3])
            assert not echoed, (name, answer)
        secrets.add_files(daemon)
        for said in said_by_checks(daemon, secrets):
            assert not secrets(said), said
        with Client(daemon.admin, timeout=20) as admin:
            assert not secrets(json.dumps(admin.stats()))
        exported = json.dumps(daemon.all_of("directory.export"))
        assert '"digest"' in exported and not secrets(exported)
        log = json.dumps(daemon.all_of("log.list"))
        assert log.count('"number"') > 40 and not secrets(log)
        # A theft is told, by name and not by token; so is a call without the role.
        assert "was used twice" in daemon.logged()
        call(daemon.data, "org.show", organization=secrets.texts()[0])
        daemon.wait_for_log("org.show refused on the data socket")
        daemon.done("backup.create", path=str(tmp_path / "copy"))
        assert not secrets((tmp_path / "copy").read_bytes())
        for name in ("cmdline", "environ"):
            assert not secrets(pathlib.Path(f"/proc/{daemon.process.pid}/{name}").read_bytes())
        assert daemon.kill() == -signal.SIGKILL
        for path in daemon.database.parent.iterdir():
            if path.is_file():
                assert not secrets(path.read_bytes()), path
        assert len(daemon.logged()) > 500 and not secrets(daemon.logged())


def test_the_command_line_shows_a_secret_once(tmp_path):
    with DirectoryDaemon() as daemon:
        world, secrets = world_of(daemon)
        cli = Cli(daemon)
        made = cli("key", "create", "acme", "bob").stdout.strip()
        secrets.add_key("of the command line", made)
        rotated = cli("key", "rotate", "acme", world.bob_key, "--json")
        secrets.add_key("rotated", json.loads(rotated.stdout)["secret"])
        tokens = json.loads(cli("token", "issue", "acme", "bob", "--json").stdout)
        secrets.add_tokens("of the command line", tokens)
        commands = [command.split() for command in COMMANDS]
        commands += [["key", "show", "acme", world.bob_key],
                     ["session", "show", "--", "acme", world.session]]
        for command in commands:
            for form in ([], ["--json"]):
                if command == ["export"] and form:
                    continue
                words = [*command[:2], *form, *command[2:]]
                done = run(cli, words)
                assert done.returncode == 0, (words, done.stderr)
                assert not secrets(done.stdout) and not secrets(done.stderr), words
        # Given by mistake, they are not repeated.
        for text in secrets.texts():
            for words in (["key", "show", "acme", text], ["org", "show", text],
                          ["session", "show", "--", "acme", text]):
                said = run(cli, words)
                assert said.returncode != 0
                assert not secrets(said.stdout + said.stderr), words
        # Through a file they are shown nowhere, and the file is for nobody else.
        path = tmp_path / "key"
        done = cli("key", "create", "acme", "bob", "--secret-file", path)
        secrets.add_key("in a file", path.read_text().strip())
        assert not secrets(done.stdout + done.stderr)
        assert path.stat().st_mode & 0o777 == 0o600
        assert daemon.stop() == 0


def run(cli, words):
    return subprocess.run([TOLLGATE, *map(str, words)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env=cli.env, timeout=60)


def test_files_are_for_the_daemon_alone_and_its_memory_for_nobody(tmp_path):
    # Whatever the process that starts it lets others do.
    with DirectoryDaemon(prefix=["sh", "-c", 'umask 0; exec "$@"', "sh"]) as daemon:
        World(daemon)
        daemon.done("backup.create", path=str(tmp_path / "copy"))
        made = [path for path in daemon.database.parent.rglob("*")]
        assert len(made) > 5
        for path in [*made, tmp_path / "copy"]:
            mode = path.stat().st_mode & 0o777
            assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))
        limits = pathlib.Path(f"/proc/{daemon.process.pid}/limits").read_text()
        core, = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"]
        daemon.process.send_signal(signal.SIGABRT)
        assert daemon.ended() == -signal.SIGABRT
        left = [path for path in (*daemon.directory.iterdir(), *pathlib.Path.cwd().iterdir())
                if path.name.startswith("core")]
        assert not [path for path in left if path.is_file()]
