"""`audit: compress`: files that have ended are compressed beside the work, and read as before."""

import json
import signal

import audit_daemon as audit
from hardening import eventually

COUNT = 600


def listed(place):
    return json.loads(
        audit.tollgate("audit", "list", "--directory", place.audit, "--json"))["segments"]


def charge(daemon):
    for number in range(COUNT):
        daemon.charge("acme", f"user-{number % 50}", 1)


def test_files_that_have_ended_are_compressed_and_read_as_before():
    place = audit.AuditPlace()
    try:
        with audit.daemon(place) as daemon:
            charge(daemon)
            assert daemon.stop() == 0
        before, told = audit.segments(place)[0].stat().st_size, audit.records(place)
        assert [one["compressed"] for one in listed(place)] == [False] and len(told) == COUNT
        with audit.daemon(place, audit={"compress": True}) as daemon:
            charge(daemon)
            eventually(lambda: listed(place)[0]["compressed"], 20)
            first = listed(place)[0]
            assert first["bytes_before"] == before
            assert first["bytes"] == audit.segments(place)[0].stat().st_size < before
            assert "compressed from" in audit.tollgate(
                "audit", "list", "--directory", place.audit)
            # The open one is not, and a kill changes nothing.
            assert not listed(place)[-1]["compressed"]
            eventually(lambda: len(audit.records(place)) == 2 * COUNT, 20)
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
            daemon.log.close()
            daemon.start()
            eventually(lambda: listed(place)[1]["compressed"], 20)
            assert audit.records(place)[:COUNT] == told
            found = audit.records(place, "--user", "user-7")
            assert len(found) == 2 * COUNT // 50
            assert daemon.stop() == 0
        assert audit.verify(place)["sound"] is True
        assert len(audit.records(place)) == 2 * COUNT
        # One that does not compress goes on with it.
        with audit.daemon(place) as daemon:
            daemon.charge("acme", "ada", 1)
            assert daemon.stop() == 0
        assert audit.verify(place)["sound"] is True
        damaged = audit.segments(place)[0]
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        fault = audit.verify(place, code=1)["faults"][0]
        assert fault["segment"] == 1 and fault["path"] == str(damaged)
    finally:
        place.remove()
