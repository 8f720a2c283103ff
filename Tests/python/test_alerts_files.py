"""Files that sinks of alerts name: who delivers refuses bad ones, and `tollgated -t` says so."""

import os
import subprocess

from commandline import TOLLGATE
from test_alerts_deliver import Receiver, delivering, hook

TOLLGATED = os.path.join(os.path.dirname(TOLLGATE), "tollgated")


def test_a_secret_that_others_can_read_or_that_is_none_is_refused():
    receiver = Receiver()
    with delivering(hook(receiver), starts=False) as (made, _):
        def refused():
            done = subprocess.run(
                [TOLLGATE, "alerts", "deliver", "--once", "-c", str(made.policy)],
                capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 78
            tested = subprocess.run(
                [TOLLGATED, "-t", "-c", str(made.policy)],
                capture_output=True, text=True, timeout=60, check=False)
            assert tested.returncode == 78 and "sink ops" in tested.stderr, tested.stderr
            return done.stderr

        key = made.place.path / "hook.key"
        key.chmod(0o644)
        assert "others may read or write it" in refused()
        key.write_bytes(b"too-short-a-secret")
        key.chmod(0o600)
        said = refused()
        assert "is not base64 of 24 to 64 bytes" in said and "too-short" not in said
        key.unlink()
        said = refused()
        assert "openssl rand 32 | base64" in said and "basenc" not in said


def test_a_file_of_a_url_that_is_missing_is_not_made_by_openssl():
    def sinks(place):
        return {"chat": {"kind": "slack", "url_file": str(place.path / "none.url")}}

    with delivering(sinks, starts=False) as (made, _):
        for words in ([TOLLGATE, "alerts", "deliver", "--once"],
                      [TOLLGATED, "-t"]):
            done = subprocess.run([*words, "-c", str(made.policy)], capture_output=True,
                                  text=True, timeout=60, check=False)
            assert done.returncode == 78 and "openssl" not in done.stderr
            assert "write the webhook's URL into it" in done.stderr
