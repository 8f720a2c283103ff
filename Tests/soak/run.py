"""Runs a daemon for hours at about half of its load, kills it again and again, and judges what it
takes up (RELIABILITY, M4).

usage: Deploy/soak [--hours N | --minutes N] [--kill-minutes N] [--json]

A ledger, a directory and an audit log; CHECKs of tokens and API keys, CONSUMEs and reservations of
clients that keep books; snapshots each minute. At first they ask as fast as they can, and from then
on half as often. After each kill -9 and each orderly end what every user has used is compared with
what it was told. Closes with each figure beside what it is to be; exits with 1 where one is not
met, and says of one that so much time could not show that it is not known yet."""

import argparse
import dataclasses
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Tests/python"), str(ROOT / "Sources/Clients/python")]

from conftest import Daemon  # noqa: E402
from directory_daemon import Place  # noqa: E402
from hardening import descriptors, token  # noqa: E402
from ledger_daemon import PLAN, POLICY  # noqa: E402
from tollgate import Client  # noqa: E402

import judge  # noqa: E402
from clients import IDEMPOTENCY_SECONDS, Bulk, Single, serve  # noqa: E402

BULK_USERS, SINGLE_USERS, BULKS = 256, 32, 2
CALIBRATION_SECONDS = 3.0
# Of the one that asks one thing after the other, and is timed: requests a second.
SINGLE_RATE = 200
SHARE = 0.5
INTERVALS = 24
# Longer than any soak.
TOKEN_DAYS = 30


@dataclasses.dataclass
class Asker:
    """A client's process, and what it asks by second when it asks as fast as it can."""

    kind: type
    organization: str
    process: multiprocessing.Process
    pipe: object
    rate: "float | None" = None


class Soak:
    """The daemon, its files and its clients. Lives are counted from its first start."""

    def __init__(self, options):
        self.options = options
        # A disk: what /tmp is on, memory may be.
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="tgs", dir="/var/tmp"))
        self.accounts = Place()
        for name in ("ledger", "audit"):
            (self.path / name).mkdir(mode=0o700)
        self.daemon = Daemon(policy=self.policy())
        self.askers, self.users = [], {}
        self.memory, self.files, self.latencies = [], [], []
        self.problems, self.kills, self.compared, self.asked, self.refused = [], 0, 0, 0, 0

    def policy(self):
        tokens = {"issuer": "https://tollgate.example.com"}
        parts = {
            "ledger": {"path": str(self.path / "ledger"), "snapshot_interval": "1m"},
            "audit": {"path": str(self.path / "audit"), "bytes_max": 1 << 28,
                      "segment_bytes": 1 << 24},
            "directory": {"path": str(self.accounts.directory), "peppers": [
                {"generation": 1, "file": str(self.accounts.path / "pepper.key")}]},
            "tokens": tokens, "idempotency": {"lifetime": f"{IDEMPOTENCY_SECONDS}s"}}
        audiences = "    audiences: [https://api.example.com]\n"
        policy = POLICY.replace(audiences, f"{audiences}    lifetime_max: {TOKEN_DAYS}d\n")
        return policy + "".join(f"{key}: {json.dumps(part)}\n" for key, part in parts.items())

    def say(self, words):
        print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)

    # MARK: clients

    def begin(self):
        with Client(self.daemon.admin, timeout=60) as admin:
            for number in range(BULKS):
                self.add(admin, Bulk, f"bulk{number}", BULK_USERS)
            self.add(admin, Single, "single", SINGLE_USERS)
        for asker in self.askers:
            asker.pipe.send(("go", None))
        time.sleep(CALIBRATION_SECONDS)
        for asker in self.askers:
            asker.pipe.send(("stop",))
        for asker in self.askers:
            said = asker.pipe.recv()
            self.note(said)
            asker.rate = SHARE * said["asked"] / said["seconds"]
            if asker.kind is Single:
                asker.rate = min(asker.rate, SINGLE_RATE)
        self.say("half of what they can ask: "
                 + ", ".join(f"{asker.organization} {asker.rate:,.0f}/s" for asker in self.askers))

    def add(self, admin, kind, organization, count):
        """Every fourth user has an API key, the others a token."""
        admin.organizations.create(organization, plan=PLAN)
        credentials = {}
        for number in range(count):
            user = f"u{number:04}"
            credentials[user] = token(self.daemon, org=organization, sub=user, plan=PLAN, exp=(
                int(time.time()) + (TOKEN_DAYS - 1) * 86_400))
            if number % 4 == 3:
                admin.users.create(organization, user)
                credentials[user] = admin.keys.create(organization, user).secret
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(
            target=serve, args=(kind, (self.daemon.data, organization, credentials), PLAN, theirs),
            daemon=True)
        process.start()
        self.askers.append(Asker(kind, organization, process, ours))
        self.users[organization] = sorted(credentials)

    def note(self, said):
        self.asked += said["asked"]
        self.refused += said["refused"]
        self.strange(said["strange"])
        self.latencies += said.get("latencies", [])

    def strange(self, answers):
        self.problems += [f"a client was answered {words}" for words in answers]

    # MARK: lives

    def live(self, until):
        """One life from `go` to its end by `until`; false where the daemon ended by itself."""
        self.memory.append([])
        self.files.append([])
        for asker in self.askers:
            asker.pipe.send(("go", asker.rate))
        looked, told = 0.0, time.monotonic()
        while (now := time.monotonic()) < until:
            if self.daemon.process.poll() is not None:
                self.problems.append("the daemon ended by itself: " + self.daemon.logged()[-500:])
                return False
            if now - looked >= 1:
                looked = now
                self.memory[-1].append((now, self.private_bytes()))
                self.files[-1].append((now, descriptors(self.daemon.process.pid)))
            if now - told >= 60:
                told = now
                self.say(f"{self.kills} kills, {self.memory[-1][-1][1] / judge.MIB:.1f} MiB,"
                         f" {self.files[-1][-1][1]} descriptors, {len(self.problems)} problems")
            time.sleep(0.1)
        return True

    def private_bytes(self):
        """Resident, without files of the journal and the audit log, which come and go."""
        status = pathlib.Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1_024

    def end_life(self, how):
        """Ends the daemon so, starts it again, and compares."""
        if how == signal.SIGTERM:
            for asker in self.askers:
                asker.pipe.send(("stop",))
        else:
            self.daemon.process.send_signal(how)
        for asker in self.askers:
            self.note(asker.pipe.recv())
        if how == signal.SIGTERM:
            self.daemon.process.send_signal(how)
        code = self.daemon.process.wait(60)
        self.daemon.log.close()
        wanted = -signal.SIGKILL if how == signal.SIGKILL else 0
        if code != wanted:
            self.problems.append(f"it ended with {code}: {self.daemon.logged()[-500:]}")
        self.kills += how == signal.SIGKILL
        self.daemon.process = self.daemon.start()
        for asker in self.askers:
            asker.pipe.send(("again",))
            self.strange(asker.pipe.recv())
        self.compare()

    def compare(self):
        found = {}
        with Client(self.daemon.data, timeout=60) as client:
            for organization, users in self.users.items():
                for user in users:
                    report = client.usage(organization, user, PLAN)
                    found[organization, user] = next(
                        entry.used for entry in report.limits if entry.name == "user_tokens")
        for asker in self.askers:
            asker.pipe.send(("settle", found))
            self.problems += asker.pipe.recv()
        self.compared += len(found)

    def run(self):
        self.begin()
        end = time.monotonic() + 60 * self.options.minutes
        while time.monotonic() < end:
            until = min(end, time.monotonic() + 60 * self.options.kill_minutes)
            if not self.live(until):
                return
            # A last life that is too short to be killed ends in order.
            self.end_life(signal.SIGKILL if until < end or self.kills == 0 else signal.SIGTERM)

    def remove(self):
        for asker in self.askers:
            asker.process.terminate()
            asker.process.join()
        self.daemon.remove()
        self.accounts.remove()
        shutil.rmtree(self.path)

    # MARK: figures

    def intervals(self):
        """(time, p99 in seconds) of pieces of the whole time, each with enough to have one."""
        if not self.latencies:
            return []
        first, last = self.latencies[0][0], self.latencies[-1][0]
        pieces = [[] for _ in range(INTERVALS)]
        for at, took in self.latencies:
            pieces[min(INTERVALS - 1, int(INTERVALS * (at - first) / (last - first + 1e-9)))
                   ].append((at, took))
        return [(statistics.fmean(at for at, _ in piece),
                 judge.percentile([took for _, took in piece], 0.99))
                for piece in pieces if len(piece) >= 100]

    def report(self):
        memory = [life for life in self.memory if life]
        after = time.monotonic() if not memory else memory[0][0][0] + min(
            judge.HOUR, 20 * self.options.minutes)
        figures = [
            judge.memory(memory), judge.memory_between(memory, after),
            judge.descriptors([life for life in self.files if life]),
            judge.latency(self.intervals())]
        p99 = [value for _, value in self.intervals()]
        return {
            "minutes": self.options.minutes, "kills": self.kills, "requests": self.asked,
            "refused_in_passing": self.refused, "users_compared": self.compared,
            "p99_ms": 1_000 * statistics.median(p99) if p99 else None,
            "memory_mib": [round(life[-1][1] / judge.MIB, 1) for life in memory],
            "problems": self.problems,
            "figures": [dataclasses.asdict(figure) for figure in figures]}, figures


def parsed():
    parser = argparse.ArgumentParser(
        prog="Deploy/soak", description=__doc__.split("\n\n")[0],
        epilog="Exits with 0 where all figures that are known are met, else with 1.")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, help="how long (default: 1)")
    length.add_argument("--minutes", type=float, help="for a short look")
    parser.add_argument("--kill-minutes", type=float, default=10,
                        help="from one kill to the next (default: 10)")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    options = parser.parse_args()
    if options.minutes is None:
        options.minutes = 60 * (1 if options.hours is None else options.hours)
    if options.minutes <= 0 or options.kill_minutes <= 0:
        parser.error("times are more than 0")
    return options


def main():
    options = parsed()
    # So that nothing is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    soak = Soak(options)
    try:
        soak.run()
        report, figures = soak.report()
    finally:
        soak.remove()
    if soak.options.json:
        print(json.dumps(report))
    else:
        print(judge.summary(report))
        for figure in figures:
            print(figure.line())
        for problem in report["problems"]:
            print(f"problem: {problem}")
    return 1 if report["problems"] or any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
