"""Kills at random moments under load: what was acknowledged is there to the unit, nothing is there
twice, and what is asked again by its id has the first answer (RELIABILITY, D1, D10, C4, C7).

`ledger-kills` (Tests/LedgerKills) is the clients and keeps their books; several ledgers side by
side, of both durabilities, with a snapshot every 50 ms and the smallest files of the journal."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

KILLS = int(os.environ.get("TOLLGATE_KILLS", "1000"))
ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = ROOT / ".build/debug"


def test_nothing_is_lost_and_nothing_is_doubled_by_kills():
    # A disk: what /tmp is on, memory may be.
    place = tempfile.mkdtemp(prefix="tgk", dir="/var/tmp")
    seed = [os.environ["TOLLGATE_SEED"]] if "TOLLGATE_SEED" in os.environ else []
    done = subprocess.run(
        [BUILT / "ledger-kills", os.environ.get("TOLLGATED", BUILT / "tollgated"), place,
         str(KILLS), *seed], capture_output=True, text=True, timeout=120 + 2 * KILLS)
    print(done.stdout)
    # Where it fails, the ledgers stay.
    assert done.returncode == 0, f"{place}: {done.stdout}{done.stderr}"
    shutil.rmtree(place)
    counts = {words: int(count) for count, words in re.findall(r"^(\d+) (.+)$", done.stdout, re.M)}
    assert counts["lives ended by kill -9"] >= KILLS
    assert counts["charges told to clients"] > 20 * KILLS
    assert counts["asked again, with an id or a reservation's"] > KILLS
    assert counts["files of the journal"] > 2 * KILLS and counts["snapshots"] > KILLS // 10
    # Everything that is to be seen came about.
    missing = [words for words, count in counts.items() if count == 0]
    assert not missing or KILLS < 500, missing


def test_of_a_daemon_that_does_not_get_ready_it_says_what_its_threads_do(tmp_path):
    stuck = tmp_path / "stuck"
    stuck.write_text("#!/bin/sh\nexec sleep 1000\n")
    stuck.chmod(0o755)
    done = subprocess.run(
        [BUILT / "ledger-kills", stuck, tmp_path, "4"], capture_output=True, text=True, timeout=60,
        env={**os.environ, "TOLLGATE_READY_SECONDS": "1"})
    assert done.returncode == 1
    # Two looks at the one thread of each of four.
    threads = re.findall(
        r"^  \d+ sleep: state S \(sleeping\), waits in (\S+), system call (.+), stack (.+)$",
        done.stdout, re.M)
    assert len(threads) == 8, done.stdout
    # Where this user may see it: clock_nanosleep, by its number on x86-64 and arm64.
    assert os.geteuid() != 0 or {call.split()[0] for _, call, _ in threads} <= {"230", "115"}
