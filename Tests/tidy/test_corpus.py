"""The seeds of the fuzz targets are those that their script makes."""

import importlib.util
import pathlib

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "Fuzz/make_corpus.py"
_SPEC = importlib.util.spec_from_file_location("make_corpus", SCRIPT)
corpus = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(corpus)


def test_the_corpus_is_what_the_script_makes() -> None:
    wrong = corpus.differences(corpus.make(), corpus.found())
    assert wrong == [], "run python Tests/Fuzz/make_corpus.py and commit what it changes"


def test_a_seed_that_is_another_is_seen() -> None:
    made = {("json", "a"): b"1", ("json", "b"): b"2", ("json", "c"): b"3"}
    kept = {(target, name): b"" for target, names in corpus.KEPT.items() for name in names}
    there = kept | {("json", "a"): b"1", ("json", "b"): b"0", ("json", "x"): b"4"}
    assert corpus.differences(made, kept | made) == []
    assert corpus.differences(made, there) == [
        "json/b is made otherwise", "json/c is not there", "json/x is made by nothing"]
    assert corpus.differences(made, made)[0] == "audit/packed is not there"
    assert corpus.differences(kept, kept)[0] == "audit/packed is kept, and made"
