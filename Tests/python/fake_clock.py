"""A wall clock for one daemon that goes on from where a test sets it."""

import datetime
import mmap
import pathlib
import shutil
import subprocess
import tempfile
import time

from conftest import ROOT


class FakeClock:
    """`environment` is for the daemon. Only forward, and by less than 21 hours at once, is it
    believed (DESIGN.md, "Clocks")."""

    def __init__(self, now):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tgc", dir="/tmp"))
        library, ahead = self.directory / "clock.so", self.directory / "ahead"
        subprocess.run(["clang", "-shared", "-fPIC", "-O1", "-o", library,
                        ROOT / "Tests/FakeClock/clock.c", "-ldl"], check=True)
        ahead.write_bytes(bytes(8))
        with open(ahead, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "TOLLGATE_TEST_CLOCK": str(ahead)}
        self.set(now)

    def set(self, now):
        ahead = int(now.timestamp() * 1_000) * 1_000_000 - time.time_ns()
        self.memory[:] = ahead.to_bytes(8, "little", signed=True)

    def now(self):
        ahead = int.from_bytes(self.memory[:], "little", signed=True)
        return datetime.datetime.fromtimestamp((time.time_ns() + ahead) / 1e9, datetime.UTC)

    def remove(self):
        self.memory.close()
        shutil.rmtree(self.directory)
