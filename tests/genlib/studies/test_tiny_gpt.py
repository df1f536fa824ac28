"""The small GPT as a study: what it reads, what it is compared by, what it refuses."""

import math
from dataclasses import replace

import pytest
import torch

from genlib import CheckpointError, InputError, TinyGPT, fit, load_checkpoint, save_checkpoint, start
from genlib.data import text as texts
from genlib.data.text.grammar import sentences
from genlib.studies.tiny_gpt.claims import distance, entropy

TINY = TinyGPT.preset("tiny")


@pytest.fixture(scope="module")
def trained():
    return fit(replace(TINY, steps=60))


def test_minGPTs_settings_are_minGPTs():  # noqa: N802 - its own name
    study = TinyGPT.preset("mingpt")
    named = ("layers", "heads", "width", "batch_size", "block", "learning_rate", "steps", "tokeniser", "held_out")
    assert [getattr(study, name) for name in named] == [4, 4, 128, 12, 64, 5e-4, 1_000, "characters", 0.1]
    # Norms, biases, places and the table of tokens lose nothing to the decay.
    groups = replace(study, text="grammar").optimizer(replace(study, text="grammar").model()).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert sum(p.numel() for p in groups[0]["params"]) > 0.95 * 4 * 12 * 128**2
    assert all(p.ndim == 2 for p in groups[0]["params"])


def test_batches_are_blocks_of_the_text_and_what_follows_them():
    train = TINY.data().train
    batch = TINY.batch(train, TINY.draws("train", 3))
    text = TINY.source.train
    for x, y in zip(batch["x"], batch["y"], strict=True):
        assert TINY.reader.decode(x) in text
        assert torch.equal(x[1:], y[:-1])


def test_what_is_held_out_is_not_trained_on(trained):
    study = trained.study
    train, test = study.source.train, study.source.held_out
    assert train + test == study.source.whole
    assert len(test) == round(0.1 * len(train + test))
    nats, tokens, characters = study.held_out_nats(trained.model)
    assert characters == tokens == (len(test) - 1) // study.block * study.block
    assert trained.evaluation.metrics["nats_per_char"] == pytest.approx(nats / characters)
    assert nats / tokens < math.log(study.reader.size)


def test_byte_pairs_are_compared_by_the_character():
    study = replace(TINY, tokeniser="byte_pairs", vocabulary=300)
    nats, tokens, characters = study.held_out_nats(study.model())
    assert characters > 1.5 * tokens
    assert nats / tokens == pytest.approx(math.log(300), rel=0.02)


def test_samples_go_on_from_the_held_out_text(trained):
    (row, *_) = trained.evaluation.tables["samples"]
    assert row["text"][:8] in trained.study.source.held_out
    assert len(row["text"]) == 8 + trained.study.sample_tokens


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"heads": 3}, r"heads: got 3; width \(16\) must be a multiple"),
        ({"block": 60_000}, r"the held-out text has .* tokens, and a block is 60000: give a longer text or a shorter"),
        ({"text": "/nowhere.txt"}, "cannot be read"),
        ({"vocabulary": 10}, "vocabulary: got 10"),
        ({"sentence": "Ω"}, "sentence: 'Ω': not among"),
        ({"prompt": ""}, "prompt: '' has 0 tokens; allowed are 1 to 16"),
        ({"sentence": "the queen sees the cook"}, "sentence: .* has 23 tokens; allowed are 1 to 16"),
        ({"continuations": ()}, "continuations: got none"),
    ],
)
def test_what_cannot_be_trained_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        replace(TINY, **fields).data()


def test_a_sentence_longer_than_a_block_or_unknown_is_refused(trained):
    with pytest.raises(InputError, match=r"a sentence of 30 tokens: allowed are 1 to 16"):
        trained.study.inverted(trained.model, "t" * 30)
    with pytest.raises(InputError, match="'Ω': not among"):
        trained.study.inverted(trained.model, "Ω")


def test_even_attention_has_full_entropy_and_looks_half_way_back():
    even = torch.ones(8, 8).tril()
    even = (even / even.sum(-1, keepdim=True)).expand(2, 1, 1, 8, 8)
    assert entropy(even).flatten().tolist() == pytest.approx([1, 1])
    assert distance(even).flatten().tolist() == pytest.approx([1.75, 1.75])
    itself = torch.eye(8).expand(1, 1, 1, 8, 8)
    assert entropy(itself).item() == pytest.approx(0)
    assert distance(itself).item() == 0


def test_a_run_is_of_its_text_wherever_it_is_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text(sentences(200))
    study = replace(TINY, text="mine.txt")
    saved = save_checkpoint(tmp_path / "checkpoints", study, start(study))
    monkeypatch.chdir("/")
    load_checkpoint(saved, type(study)(**study.fields()))
    (tmp_path / "mine.txt").write_text(sentences(200, 1))
    texts.text.cache_clear()
    with pytest.raises(CheckpointError, match=r"made of other data: mine.txt changed since; bring back what it was"):
        load_checkpoint(saved, study)


def test_dollars_in_a_text_are_no_formulas(tmp_path):
    from genlib.figures.text import attention_rows, score_bars

    score_bars({"a $x_{$ b": (["$x_{$", "$"], -torch.ones(2).numpy())}).savefig(tmp_path / "a.png")
    attention_rows({"$": torch.ones(1, 2).numpy() / 2}, ["$_{", "$"], title="$_{$").savefig(tmp_path / "b.png")
    assert all((tmp_path / name).stat().st_size > 1_000 for name in ("a.png", "b.png"))
