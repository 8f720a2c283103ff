"""A wall clock for one daemon that goes on from where a test sets it, and the host's boottime."""

import datetime
import mmap
import pathlib
import shutil
import subprocess
import struct
import tempfile
import time
import uuid

from conftest import ROOT


class FakeClock:
    """`environment` is for the daemon. Only forward, and by less than 21 hours at once, is it
    believed (DESIGN.md, "Clocks")."""

    def __init__(self, now):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tgc", dir="/tmp"))
        library, ahead = self.directory / "clock.so", self.directory / "ahead"
        subprocess.run(["clang", "-shared", "-fPIC", "-O1", "-o", library,
                        ROOT / "Tests/FakeClock/clock.c", "-ldl"], check=True)
        ahead.write_bytes(bytes(16))
        self.boot = self.directory / "boot"
        self.boot.write_text(f"{uuid.uuid4()}\n")
        with open(ahead, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 16)
        self.environment = {"LD_PRELOAD": str(library), "TOLLGATE_TEST_CLOCK": str(ahead),
                            "TOLLGATE_TEST_BOOT": str(self.boot)}
        self.set(now)

    def _ahead(self):
        """Nanoseconds, of the wall clock and of boottime."""
        return struct.unpack("<2q", self.memory[:])

    def set(self, now):
        ahead = int(now.timestamp() * 1_000) * 1_000_000 - time.time_ns()
        self.memory[:8] = struct.pack("<q", ahead)

    def now(self):
        return datetime.datetime.fromtimestamp(
            (time.time_ns() + self._ahead()[0]) / 1e9, datetime.UTC)

    def pass_in_boottime(self, by):
        """Boottime alone goes on, or back."""
        nanoseconds = int(by.total_seconds() * 1_000) * 1_000_000
        self.memory[8:] = struct.pack("<q", self._ahead()[1] + nanoseconds)

    def sleep(self, by):
        """As a host that is suspended: both clocks go on."""
        self.set(self.now() + by)
        self.pass_in_boottime(by)

    def boot_again(self):
        """As a host that was started half a minute ago, while no daemon runs."""
        began = 30_000_000_000 - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.memory[8:] = struct.pack("<q", began)
        self.boot.write_text(f"{uuid.uuid4()}\n")

    def remove(self):
        self.memory.close()
        shutil.rmtree(self.directory)
