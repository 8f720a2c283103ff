"""Deploy/run from end to end, as somebody who reads its output and pastes what it prints."""

import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / ".build/release"
MEBIBYTE = 1 << 20


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TOLLGATE")}
    return subprocess.run([str(ROOT / "Deploy/run"), *arguments], cwd="/", text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**kept, **environment})


class Story:
    """Two runs with one state folder, deep enough that the sockets stand elsewhere."""

    def __init__(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp())
        self.state = self.directory / ("deep/" * 20) / "with spaces"
        self.first = run("--state", str(self.state))
        self.second = run("--state", str(self.state))

    def commands(self) -> list[str]:
        """The lines to paste, in order: exports, a check, top, reload, stop."""
        hints = self.second.stdout.partition("The daemon goes on running.")[2]
        return [line.strip() for line in hints.splitlines() if line.startswith("  ")]

    def paste(self, *commands: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["bash", "-c", "\n".join(commands)], cwd="/", text=True,
                              stdin=subprocess.DEVNULL, capture_output=True)

    def data_socket(self) -> str:
        return re.search(r"TOLLGATE_SOCKET=(\S+)", self.second.stdout).group(1)

    def daemon(self) -> int:
        """Process id of whoever listens."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.data_socket())
            raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return struct.unpack("3i", raw)[0]


@pytest.fixture(scope="module")
def story():
    made = Story()
    yield made
    pid = made.daemon()
    made.paste(made.commands()[-1])
    # It writes a last snapshot of its ledger.
    for _ in range(400):
        if not pathlib.Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    shutil.rmtree(made.directory)
    shutil.rmtree(pathlib.Path(made.data_socket()).parent)


def test_it_shows_what_the_daemon_does(story) -> None:
    shown = story.first.stdout
    assert story.first.returncode == 0, shown
    allowed, denied, limited, used = (shown.index(text) for text in (
        "\nallow\n", "\ndeny  permissionDenied\n", "\ndeny  rateLimited\n", "\nLIMIT  "))
    assert shown.index("\nAPI key\n") < allowed < denied < limited < used
    assert used < shown.index("→ pro_tier\n") < shown.rindex("\nallow\n")
    assert re.search(r"^monthly_tokens +organization +tokens +250 +0 +100000 +99750 ", shown, re.M)
    assert re.search(r"^  retry +in \d+ ", shown, re.M)


def test_run_again_it_builds_nothing_and_finds_the_daemon(story) -> None:
    shown = story.second.stdout
    assert story.second.returncode == 0, shown
    assert "the daemon runs already" in shown
    assert "Compiling" not in shown and "installing" not in shown


def test_the_state_is_nobody_elses_business(story) -> None:
    assert story.state.stat().st_mode & 0o777 == 0o700
    assert (story.state / "directory").stat().st_mode & 0o777 == 0o700
    for name in ("keys/main.key", "keys/pepper.key", "demo.key"):
        assert (story.state / name).stat().st_mode & 0o777 == 0o600
    assert len(story.data_socket()) < 108


def test_the_daemon_holds_nothing_that_the_script_was_given(story, tmp_path) -> None:
    with open(tmp_path / "lock", "w") as lock:
        os.set_inheritable(lock.fileno(), True)
        state = tmp_path / "s"
        shown = subprocess.run([str(ROOT / "Deploy/run"), "--state", str(state)], pass_fds=[
            lock.fileno()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    stop = shown.splitlines()[-1].strip()
    try:
        held = subprocess.run(["bash", "-c", "ls -l /proc/[0-9]*/fd 2>/dev/null"], text=True,
                              capture_output=True).stdout
        assert str(tmp_path / "lock") not in held
    finally:
        assert subprocess.run(["bash", "-c", stop], capture_output=True).returncode == 0, shown


def test_every_line_that_it_prints_works(story) -> None:
    exports, (check, top, reload, _) = story.commands()[:2], story.commands()[2:]
    for _ in range(100):
        asked = story.paste(*exports, check)
        if asked.returncode == 0:
            break
        # The story ends with a window that is full for a second.
        assert asked.returncode == 2 and "rateLimited" in asked.stdout, asked
        time.sleep(0.05)
    assert asked.stdout.startswith("allow\n") and "per_minute" in asked.stdout
    watched = story.paste(*exports, f"timeout 2 {top}")
    assert watched.returncode == 124 and watched.stderr == "", watched
    reloaded = story.paste(*exports, reload)
    assert reloaded.returncode == 0 and "2" in reloaded.stdout, reloaded


def resident(process: int) -> int:
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) * 1024


def test_the_daemon_is_small(story, tmp_path) -> None:
    stripped = tmp_path / "tollgated"
    subprocess.run(["strip", "-o", stripped, RELEASE / "tollgated"], check=True)
    directory = pathlib.Path(tempfile.mkdtemp())
    path = directory / "d.sock"
    policy, log = story.state / "small.yaml", tmp_path / "log"
    policy.write_text((story.state / "tollgate.yaml").read_text().replace(
        f"path: '{story.state}/directory'", f"path: '{directory}'").replace(
        f"path: '{story.state}/ledger'", f"path: '{directory}/ledger'").replace(
        f"path: '{story.state}/audit'", f"path: '{directory}/audit'").replace(
        f"path: '{story.state}/alerts'", f"path: '{directory}/alerts'"))
    assert str(directory) in policy.read_text()
    idle = subprocess.Popen(
        [stripped, "-c", policy, "--data-socket", path, "--admin-socket",
         directory / "a.sock", "--threads", "2"], stderr=log.open("w"))
    try:
        for _ in range(400):
            if "ready:" in log.read_text():
                break
            time.sleep(0.05)
        time.sleep(1)
        asleep = resident(idle.pid)
    finally:
        idle.terminate()
        idle.wait(20)
        shutil.rmtree(directory)
    print(f"stripped {stripped.stat().st_size / MEBIBYTE:.1f} MiB,"
          f" idle {asleep / MEBIBYTE:.1f} MiB,"
          f" after a few checks {resident(story.daemon()) / MEBIBYTE:.1f} MiB")
    assert stripped.stat().st_size < 16 * MEBIBYTE
    assert asleep < 20 * MEBIBYTE


def test_the_daemon_holds_no_code_of_what_it_does_not_need() -> None:
    code = (RELEASE / "tollgated").read_bytes()
    assert b"TollgateCore" in code
    for name in (b"ArgumentParser", b"Histogram", b"NIOCore", b"FoundationEssentials"):
        assert name not in code
    linked = subprocess.run(["ldd", RELEASE / "tollgated"], check=True, text=True,
                            capture_output=True).stdout
    assert "libcrypto" in linked and "swift" not in linked and "Foundation" not in linked


def test_the_stop_line_ends_it_and_the_next_run_begins_anew(story) -> None:
    process = story.daemon()
    assert story.paste(story.commands()[-1]).returncode == 0
    for _ in range(200):
        if not pathlib.Path(f"/proc/{process}").exists():
            break
        time.sleep(0.05)
    assert not pathlib.Path(f"/proc/{process}").exists()
    again = run("--state", str(story.state))
    assert again.returncode == 0 and "starting the daemon" in again.stdout, again.stdout


def stand_ins(directory: pathlib.Path, **scripts: str) -> str:
    """A PATH of a few real tools, and of scripts in the place of others."""
    for tool in ("bash", "env", "dirname", "cat"):
        (directory / tool).symlink_to(shutil.which(tool))
    for name, text in scripts.items():
        script = directory / name.replace("_", "-")
        script.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        script.chmod(0o755)
    return str(directory)


def test_without_swift_it_says_how_to_get_it(tmp_path) -> None:
    shown = run(PATH=stand_ins(tmp_path))
    assert shown.returncode == 69
    assert "https://www.swift.org/install/linux/" in shown.stdout
    assert "export PATH=" in shown.stdout


def test_without_root_and_sudo_it_says_what_to_install(tmp_path) -> None:
    shown = run(PATH=stand_ins(tmp_path, swift="", dpkg_query="exit 1", id="echo 1000"))
    assert shown.returncode == 77
    assert re.search(r"As root: apt-get install .*\blibyaml-dev\b.*\bopenssl\b", shown.stdout)


def test_what_is_missing_is_installed_with_sudo(tmp_path) -> None:
    log = tmp_path / "log"
    path = stand_ins(
        tmp_path, swift="echo swift $* >>" + str(log) + "; exit 9", id="echo 1000",
        dpkg_query='[ "${*: -1}" = libyaml-dev ] || echo installed',
        sudo="echo sudo $* >>" + str(log))
    assert run(PATH=path).returncode == 9
    lines = log.read_text().splitlines()
    assert lines[0] == "sudo apt-get update -qq"
    assert lines[1].endswith("apt-get install -y -qq --no-install-recommends libyaml-dev")
    assert lines[2].startswith("swift build ")
    assert len(lines) == 3


def test_another_argument_is_refused() -> None:
    assert run("--help-me").returncode == 64
