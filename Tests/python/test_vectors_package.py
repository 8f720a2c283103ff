"""The Python client as a package: its types, its wheel, the lines that README.md shows."""

import ast
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import conftest
import make_frames

SOURCE = make_frames.ROOT / "Sources/Clients/python"


def run(*command, **options):
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_types_hold(tmp_path):
    run("-m", "mypy", "--strict", "--no-incremental", str(SOURCE / "tollgate"))
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from tollgate import AsyncClient, Client\n"
        "Client().check('t', operation=1)\n"
        "Client().check('t', operatoin='chat')\n"
        "Client().usage('o').limits[0].used + ''\n"
        "Client().check('t', operation='chat', kind='jwt')\n"
        "Client().keys.rotate('acme', 'k', overlap='1d')\n"
        "Client().organizations.show('acme').subscription.plan\n"
        "for key in Client().keys.list('acme'): key.secret\n"
        "async def one(client: AsyncClient) -> str:\n"
        "    user = await client.users.create('acme', 1)\n"
        "    tokens = client.tokens.issue('acme', user.id)\n"
        "    return tokens.access_token\n"
        "async def all(client: AsyncClient) -> None:\n"
        "    for user in client.users.list('acme'): pass\n"
        "    async for user in client.users.list('acme'): user.id + user.name\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(wrong)],
        capture_output=True, text=True, check=False, env={"MYPYPATH": str(SOURCE)})
    wrong_lines = {int(line) for line in re.findall(r":(\d+): error:", done.stdout)}
    assert wrong_lines == {*range(2, 9), 10, 12, 14}, done.stdout


def test_nothing_is_written_in_words_that_python_3_9_does_not_know():
    for path in (SOURCE / "tollgate").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 9))


def test_only_the_standard_library_is_used():
    run("-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import tollgate")


def test_a_wheel_is_built_and_holds_the_client_and_its_types(tmp_path):
    copy = tmp_path / "source"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    run("-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-q", "-w",
        str(tmp_path), str(copy))
    (wheel,) = tmp_path.glob("tollgate-*-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.name for path in (SOURCE / "tollgate").glob("*.py")}
    assert {f"tollgate/{name}" for name in modules | {"py.typed"}} <= names
    place = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(place)
    run("-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(place)!r}); import tollgate")


def test_the_lines_of_the_readme_run(start_daemon):
    daemon = start_daemon(policy=conftest.POLICY.replace("limit: 1000,", "limit: 1000000,"))
    text = (make_frames.ROOT / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    import test_daemon

    names = {"token": test_daemon.pyjwt_token(daemon)}
    exec(code.replace("/run/tollgate/tollgate.sock", daemon.data).replace("0.05", "20"), names)
    assert names["decision"].allowed and names["decision"].operation == "chat"
    assert pathlib.Path(daemon.data).exists()
