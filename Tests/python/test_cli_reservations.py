"""tollgate reserve, extend, settle and cancel, for people and as JSON."""

from commandline import DENIED, PRO, USAGE, Cli, cli

NOT_DONE = 1


def quota(cli):
    (one,) = [limit for limit in cli.json("usage", "acme", "ada")["limits"]
              if limit["kind"] == "quota"]
    return one["used"], one["held"]


def reserve(cli, *more, **options):
    return cli.json("reserve", "--token-file", cli.token_file(*PRO), "-o", "chat", *more,
                    **options)


def test_what_is_reserved_outlives_the_command_and_is_settled_by_another(cli):
    held = reserve(cli, "-u", "tokens=40", "--for", "2m")
    assert held["verdict"] == "allow" and held["ttl_ms"] == 120_000
    assert len(held["reservation"]) == 32 and quota(cli) == (0, 400)
    more = cli.json("extend", held["reservation"], "-u", "tokens=50", "--used", "tokens=30")
    assert more["verdict"] == "allow" and quota(cli) == (0, 500)
    settled = cli.json("settle", held["reservation"], "-u", "tokens=37")
    assert not settled["overage"] and settled["reservation"] is None and quota(cli) == (370, 0)
    assert cli.json("settle", held["reservation"], "-u", "tokens=37") == settled
    said = cli.error("settle", held["reservation"], "-u", "tokens=38", code=NOT_DONE)
    assert "other units" in said
    assert "has ended" in cli.error("extend", held["reservation"], code=NOT_DONE)


def test_people_are_told_the_id_and_for_how_long(cli):
    token = cli.token_file(*PRO)
    said = cli("reserve", "--token-file", token, "-o", "chat", "-u", "tokens=4").stdout
    lines = dict(line.strip().split("  ", 1) for line in said.splitlines() if "  " in line.strip())
    identity = lines["reservation"].strip()
    assert said.startswith("allow\n") and lines["held for"].strip() == "60 s"
    assert cli("cancel", identity).stdout.startswith("allow\n")
    assert quota(cli) == (0, 0)
    shown = cli("settle", identity, "-u", "tokens=200", "--explain").stdout
    assert "a limit is past its end" in shown and "HELD" in shown


def test_a_denial_is_exit_code_2_and_holds_nothing(cli):
    denied = reserve(cli, "-u", "tokens=101", code=DENIED)
    assert denied["reason"] == "quotaExhausted" and denied["reservation"] is None
    held = reserve(cli, "-u", "tokens=100")
    stop = cli.json("extend", held["reservation"], "-u", "tokens=101", code=DENIED)
    assert stop["reason"] == "quotaExhausted"
    assert reserve(cli, "-u", "tokens=1", "--dry-run", code=DENIED)["dry_run"]


def test_what_is_no_reservation_is_said(cli):
    for verb in ("extend", "settle", "cancel"):
        assert "reserve" in cli.error(verb, "00" * 16, code=NOT_DONE)
        for wrong in ("00" * 15, "0" * 31, "zz" * 16, "00" * 17, ""):
            cli(verb, wrong, code=USAGE)
        cli(verb, code=USAGE)
    held = reserve(cli, "-u", "tokens=1")["reservation"]
    for wrong in (["--used", "tokens"], ["-u", "tokens=-1"], ["--for", "0s"], ["--for", "60d"],
                  ["--for", "soon"]):
        cli("extend", held, *wrong, code=USAGE)
    assert "no meter" in cli.error("settle", held, "-u", "calls=1", "-u", "nothing=1", code=USAGE)
    cli("reserve", code=USAGE)
