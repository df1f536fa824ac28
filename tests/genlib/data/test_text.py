"""Texts are read or refused in one sentence; tokenisers give back what they were given."""

import hashlib
import os
import re
from pathlib import Path

import pytest

from genlib import InputError
from genlib.data import text as texts
from genlib.data.files import Source, fetch
from genlib.data.text.grammar import PLACES, PLURAL, SINGULAR, VERBS, sentences
from genlib.data.text.tokens import BytePairs, Characters, tokeniser


@pytest.fixture(autouse=True)
def _forgotten():
    texts.text.cache_clear()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read .* give one of alice, shakespeare, grammar, or a file"),
        (b"", "is empty: give a text"),
        (b" \n ", "is empty: give a text"),
        (b"caf\xe9", r"is no UTF-8 text \(byte 3\): convert it first"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, said):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        _ = texts.text(str(path)).whole


def test_your_own_file_is_read_and_its_content_is_its_identity(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("déjà vu\n")
    assert texts.text(str(path)).whole == "déjà vu\n"
    first = texts.text(str(path)).checksums
    path.write_text("jamais vu\n")
    texts.text.cache_clear()
    assert texts.text(str(path)).checksums != first
    assert list(first) == ["mine.txt"]


def test_a_text_is_split_by_position():
    assert texts.split("abcdefghij", 0.3) == ("abcdefg", "hij")


def test_alice_is_who_she_was():
    if not (Path(os.environ["GENLIB_DATA"]) / "alice.txt").exists():
        pytest.skip("the text is not here")
    assert len(set(texts.text("alice").whole)) == 71


def test_a_book_is_cut_out_of_its_licence_and_verified(tmp_path, monkeypatch):
    book = b"A BOOK\nis read\nTHE END\n"
    (tmp_path / "11.txt").write_bytes(b"licence\r\n" + book.replace(b"\n", b"\r\n") + b"licence")
    monkeypatch.setenv("GENLIB_DATA", str(tmp_path / "data"))
    address = (tmp_path / "11.txt").as_uri()
    good = Source(
        "book.txt", len(book), hashlib.md5(book).hexdigest(), (address,),
        cut=lambda whole: texts.between(whole, b"A BOOK", b"THE END"),
    )  # fmt: skip
    assert fetch(good).read_bytes() == book
    other = good._replace(path="other.txt", cut=lambda whole: texts.between(whole, b"ANOTHER", b"THE END"))
    with pytest.raises(InputError, match=r"other.txt is missing.*what was downloaded is damaged \(0 bytes"):
        fetch(other)
    assert not (tmp_path / "data" / "other.txt").exists()


def test_the_grammar_agrees():
    """Whoever is one does, whoever are many do."""
    lines = sentences(300).lower().splitlines()
    assert len(lines) == 300
    one, many = ("|".join(map(re.escape, who)) for who in (SINGULAR, PLURAL))
    does, do = ("|".join(verbs) for verbs in (VERBS.keys(), VERBS.values()))
    whom, where = f"({one}|{many})", f"( ({'|'.join(PLACES)}))?"
    single, several = (
        f"({who})( who ({verb}) {whom})? ({verb}) {whom}{where}." for who, verb in ((one, does), (many, do))
    )
    assert all(re.fullmatch(single, line) or re.fullmatch(several, line) for line in lines)
    assert sum(" who " in line for line in lines) > 30
    assert sentences(300) == sentences(300) != sentences(300, 1)


TEXT = sentences(300)


@pytest.mark.parametrize("reader", [Characters(TEXT), BytePairs(TEXT, 300)], ids=lambda reader: type(reader).__name__)
def test_tokens_give_the_text_back(reader):
    tokens = reader.encode(TEXT)
    assert reader.decode(tokens) == TEXT
    assert int(tokens.max()) < reader.size
    assert "".join(reader.pieces(tokens[:50])) == reader.decode(tokens[:50])


def test_byte_pairs_know_every_text_and_say_it_in_fewer_tokens():
    pairs = BytePairs(TEXT, 300)
    assert pairs.size == 300
    assert pairs.decode(pairs.encode("naïve Ωμέγα 日本")) == "naïve Ωμέγα 日本"
    assert len(pairs.encode(TEXT)) < 0.7 * len(TEXT)
    assert pairs.encode(TEXT).tolist() == BytePairs(TEXT, 300).encode(TEXT).tolist()


def test_what_is_outside_the_vocabulary_is_named():
    with pytest.raises(InputError, match=r"'Ω', 'β': not among the .* characters of the training text; leave them out"):
        Characters(TEXT).encode("a β and an Ω")
    with pytest.raises(InputError, match="vocabulary: got 100; byte pairs need at least 256"):
        tokeniser("byte_pairs", TEXT, 100)
