"""What commands print as CSV is read as it was meant, whatever names people have chosen."""

import csv
import datetime
import io

import audit_daemon as audit
import pytest
import test_daemon
from commandline import Cli
from hardening import eventually
from test_replay import POLICY, other

# A mark that is combined with the character before makes another character of it, of which a
# reader of CSV, who goes by bytes, knows nothing.
NAMES = ['a"\u0301,b', ',\u0301', '"\u0301', 'x"\u0301,"\u0301,y', 'plain', 'e\u0301', '\u0301"',
         '"",\u20dd"', "it's", 'a;b', '\U0001f469\u200d"\u200d,\u200d', '"\ufe0f,"\ufe0f']
FORMULAS = ["=\u03011+1", "+\u0301,", "-2", "@\u20dd\""]


def shown(name):
    return "'" + name if name in FORMULAS else name


def rows(text):
    """Each as long as the first: no name was taken for two cells, or two for one."""
    found = list(csv.reader(io.StringIO(text), strict=True))
    assert found and {len(row) for row in found} == {len(found[0])}, found
    return [dict(zip(found[0], row)) for row in found[1:]]


def test_names_with_marks_stay_in_their_cells():
    names = NAMES + FORMULAS
    with audit.daemon(policy=POLICY) as daemon:
        for name in names:
            secret = test_daemon.pyjwt_token(daemon, sub=name, org=name, plan="pro_tier")
            assert daemon.callers.check(secret, operation="chat", units={"tokens": 20}).allowed
        eventually(lambda: len(audit.records(daemon.place)) == len(names), 20)
        assert [one["user"] for one in audit.records(daemon.place)] == names
        wanted = sorted(map(shown, names))
        now = datetime.datetime.now(datetime.timezone.utc)
        cli = Cli(daemon)
        exported = rows(cli("usage", "export", "--period", f"{now:%Y-%m}", "--open").stdout)
        assert sorted({row["user"] for row in exported} - {""}) == wanted
        assert sorted({row["organization"] for row in exported}) == wanted
        told = rows(audit.tollgate("audit", "query", "--directory", daemon.place.audit, "--format",
                                   "csv", "--all"))
        assert sorted(row["user"] for row in told) == wanted
        stricter = other(daemon, "limit: 4000, period: month", "limit: 10, period: month")
        listed = rows(audit.tollgate(
            "policy", "diff", daemon.policy, stricter, "--replay", daemon.place.audit,
            "--format", "csv", code=1))
        assert sorted(row["user"] for row in listed) == wanted
        assert sorted(row["organization"] for row in listed) == wanted


@pytest.mark.parametrize("words", [
    ["export", "--format", "csv"], ["query", "--all", "--format", "csv"],
    ["query", "--format", "csv"], ["tail", "--format", "csv"]])
def test_without_a_row_there_is_a_header(words, tmp_path):
    with audit.daemon(policy=POLICY) as daemon:
        asked = ("audit", *words, "--directory", daemon.place.audit)
        text = audit.tollgate(*asked)
        assert len(text.splitlines()) == 1 and text.startswith("time,id,kind,verdict,reason,")
        assert daemon.callers.check("nonsense", operation="chat").decision_id
        eventually(lambda: len(audit.records(daemon.place)) == 1, 20)
        assert audit.tollgate(*asked).splitlines()[0] == text.strip()
        assert len(rows(audit.tollgate(*asked))) == 1
        if words[0] == "export":
            path = tmp_path / "none.csv"
            audit.tollgate(*asked, "--user", "nobody", "-o", path)
            assert path.read_text() == text
