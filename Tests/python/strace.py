"""System calls of a running daemon that fail, or end it, when a test says so."""

import contextlib
import subprocess

from hardening import as_root, eventually


@contextlib.contextmanager
def injected(daemon, name, what):
    """`what` happens to the daemon's system calls of that name, counted by thread from now on."""
    command = as_root(["strace", "-f", "-q", "-p", str(daemon.process.pid), "-o", "/dev/null",
                       "-e", f"trace={name}", "-e", f"inject={name}:{what}"])
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        tasks = f"/proc/{daemon.process.pid}/task"
        eventually(lambda: all_traced(tasks))
        yield
    finally:
        tracer.terminate()
        tracer.communicate(timeout=20)


def all_traced(tasks):
    listed = subprocess.run(["sh", "-c", f"grep -h TracerPid {tasks}/*/status"],
                            capture_output=True, text=True).stdout.split("\n")
    return all(line.split()[1] != "0" for line in listed if line)
