"""Prompts get CLIP's token numbers; words never trained on say nothing; words that mean the same end up together."""

import gzip
import itertools
import math
import random
import re
import warnings
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tinyldm
from tinyldm.data import CaptionedMNIST
from tinyldm.text import (
    CLIP,
    END,
    MAX_TOKENS,
    START,
    UNKNOWN,
    VOCABULARY_SIZE,
    ImageEncoder,
    PromptWarning,
    TextConfig,
    TextEncoder,
    clip_merges,
    clip_tokenizer,
    clip_vocabulary,
    drop_captions,
    keep_unknown_silent,
    sprinkle_unknown,
    tokenize,
    trim,
)
from tinyldm.training import TrainSettings, train
from tinyldm.weights import read_weights, save_weights

TINY = TextConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, projection_dim=16)


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder_that_knows(*prompts: str) -> TextEncoder:
    """A small random encoder whose table has rows for the tokens of ``prompts`` (start and end are among them)."""
    encoder = TextEncoder(TINY).eval().requires_grad_(False)
    known = tokenize(list(prompts)).unique()
    encoder.table[known] = torch.randn(len(known), 16, generator=seeded())
    return encoder


@pytest.fixture(scope="module")
def shipped():
    return TextEncoder.from_pretrained()


@pytest.fixture(scope="module")
def captions():
    return CaptionedMNIST("test", seed=5, limit=200).captions


# --- tokens -------------------------------------------------------------------------------------------------------

KNOWN_IDS = {
    "paradise cosmic beach": [7247, 18304, 2117],
    "hello world": [3306, 1002],
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "a photo of a dog": [320, 1125, 539, 320, 1929],
    "a diagram": [320, 22697],
    "": [],
}


@pytest.mark.parametrize("prompt", KNOWN_IDS)
def test_prompts_have_clips_token_numbers(prompt):
    ids = KNOWN_IDS[prompt]
    expected = [49406, *ids, 49407] + [49407] * (75 - len(ids))
    assert tokenize([prompt]).tolist() == [expected]


def test_the_vocabulary_is_clips_of_49408():
    tokenizer = clip_tokenizer()
    assert tokenizer.get_vocab_size() == VOCABULARY_SIZE == 49_408
    names = [tokenizer.id_to_token(number) for number in (0, 256, 512, START, END)]
    assert names == ["!", "!</w>", "in", "<|startoftext|>", "<|endoftext|>"]


def test_capitals_and_spaces_do_not_matter():
    plain, *others = tokenize(["a red seven", "A RED Seven", "  a   red\tseven\n"])
    assert all(torch.equal(plain, other) for other in others)


def test_many_prompts_are_as_each_alone(captions):
    together = tokenize(captions)
    assert together.shape == (200, 77) and together.dtype == torch.int64
    assert torch.equal(together, torch.cat([tokenize([caption]) for caption in captions]))


@cache
def merges() -> dict[tuple[str, str], int]:
    file = Path(tinyldm.__file__).parent / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]  # as in OpenAI's code
    return {tuple(line.split()): rank for rank, line in enumerate(lines)}


@cache
def numbers() -> dict[str, int]:
    letters = [chr(b) for b in [*range(33, 127), *range(161, 173), *range(174, 256)]]
    letters += [chr(256 + n) for n in range(256 - len(letters))]
    names = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges()]
    return {name: number for number, name in enumerate(names)}


def bytes_as_letters(word: str) -> list[str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) if b in printable else chr(256 + others.index(b)) for b in word.encode()]


def plain_bpe(text: str) -> list[int]:
    """Byte-pair encoding in a few slow lines: again and again join the pair that stands first in the list of merges."""
    ids = []
    for word in re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+", text.lower()):
        parts = bytes_as_letters(word)
        parts[-1] += "</w>"
        while len(parts) > 1:
            ranks = [merges().get(pair, math.inf) for pair in itertools.pairwise(parts)]
            if min(ranks) == math.inf:
                break
            i = ranks.index(min(ranks))
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        ids += [numbers()[part] for part in parts]
    return ids


ODD = ["it's 1984, isn't it?", "café 日本 👍", "antidisestablishmentarianism", "x" * 40, "a-b_c/d...!?", "Ünïcödé ЖЖ"]


def test_tokens_are_those_of_a_plain_byte_pair_encoding(captions):
    for text in captions + ODD:
        ids = plain_bpe(text)
        assert tokenize([text])[0].tolist() == [START, *ids, END] + [END] * (75 - len(ids)), text


ALPHABETS = [
    (32, 127), (0, 32), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x500), (0x590, 0x700), (0x2000, 0x2070),
    (0x4E00, 0x4F00), (0x1F300, 0x1F700), (0, 0xD800), (0xE000, 0x110000),
]  # fmt: skip
PIECES = ["a", "red", "seven", "3.14", "it's", "don't", "I'LL", "''", "''ll", "</w>", "x</w>"]
PIECES += ["<|endoftext|>", "<|startoftext|>"]


def odd_string(rng: random.Random) -> str:
    """Words, special tokens and letters of any script, accents and controls, with or without spaces."""

    def piece() -> str:
        return "".join(chr(rng.randrange(*rng.choice(ALPHABETS))) for _ in range(rng.randint(1, 8)))

    parts = [rng.choice(PIECES) if rng.random() < 0.4 else piece() for _ in range(rng.randint(0, 12))]
    return rng.choice(["", " "]).join(parts)


def test_tokens_are_those_of_transformers_tokenizer_on_10_000_odd_strings():
    from transformers import CLIPTokenizer

    theirs, rng = CLIPTokenizer(vocab=clip_vocabulary(), merges=clip_merges()), random.Random(0)
    texts = [odd_string(rng) for _ in range(10_000)]
    expected = theirs(texts, add_special_tokens=False, verbose=False)["input_ids"]
    assert [encoding.ids for encoding in clip_tokenizer().encode_batch(texts)] == expected
    assert sum(map(len, expected)) > 200_000


def test_a_prompt_too_long_is_cut_and_the_warning_quotes_what_was_cut():
    words = ["seven"] * 75
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longest = tokenize([" ".join(words)])
    with pytest.warns(PromptWarning, match="cut after 75 tokens; not read: 'scarlet ink'") as caught:
        cut = tokenize(["a red two", " ".join([*words, "scarlet", "ink"])])
    assert len(caught) == 1
    assert torch.equal(cut[1], longest[0])
    assert longest[0, 75] != END and longest[0, 76] == END
    assert torch.equal(cut[0], tokenize(["a red two"])[0])


# --- words that were never trained on -----------------------------------------------------------------------------


def test_the_table_starts_at_zero_so_that_only_places_tell_tokens_apart():
    encoder = TextEncoder(TINY).eval()
    assert encoder.table.shape == (VOCABULARY_SIZE, 16)
    assert not encoder.table.any()
    one, other = encoder(tokenize(["a red seven", "no word of this is known"]))
    assert torch.equal(one, other)
    assert (one[0] - one[1]).abs().max() > 0.01


def red_and_others():
    """Pictures of one colour each, and captions that name it."""
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1]])
    images = colours[:, :, None, None].expand(-1, -1, 32, 32)
    return images, tokenize(["red", "a green one", "something blue", "yellow"])


def test_training_finds_each_pictures_caption_and_leaves_unknown_words_at_exactly_zero():
    images, tokens = red_and_others()
    clip = CLIP(TextEncoder(TINY), ImageEncoder(16, (8, 8, 16)))
    keep_unknown_silent(clip.text, tokens)

    def loss(model, index, generator):
        return model(images[index], sprinkle_unknown(tokens[index], generator)[:, :12])

    settings = TrainSettings(60, 4, learning_rate=0.01, warmup=5, weight_decay=0.1)
    before = clip(images, tokens).item()
    for step in train(clip, loss, 4, settings, mixed_precision="no"):
        averaged = step.ema
    assert clip(images, tokens).item() < 0.1 < before
    assert (clip.similarity(images, tokens).argmax(1) == torch.arange(4)).all()
    for text in (clip.text, averaged.text):
        known = tokens.unique()
        assert text.table.any(dim=1).nonzero()[:, 0].tolist() == known.tolist()
        assert UNKNOWN not in known


def test_without_keep_unknown_silent_it_would_learn_the_word_that_means_nothing():
    images, tokens = red_and_others()
    clip = CLIP(TextEncoder(TINY), ImageEncoder(16, (8, 8, 16)))
    clip(images, sprinkle_unknown(tokens, seeded(1))).backward()
    assert clip.text.table.grad[UNKNOWN].any()


@torch.no_grad()
def test_all_unknown_words_are_the_same_to_the_encoder():
    encoder = encoder_that_knows("a red seven on paper")
    known, paradise, cosmic, unknown = tokenize(["a red seven", "a paradise seven", "a cosmic seven", "a red seven"])
    unknown[2] = UNKNOWN
    first, *others = encoder(torch.stack([paradise, cosmic, unknown]))
    assert all(torch.equal(first, other) for other in others)
    assert (encoder(known[None])[0] - first).abs().max() > 0.01


def test_unknown_words_are_named_once_and_in_order():
    encoder = encoder_that_knows("a red seven 7 on paper , don")
    assert encoder.unknown_words("A Paradise, cosmic red beach seven on paradise") == ["paradise", "cosmic", "beach"]
    assert encoder.unknown_words("a RED seven, on 7 paper") == []
    assert encoder.unknown_words("78") == ["8"]
    assert encoder.unknown_words("") == []
    assert encoder.unknown_words("it's a red café, don't") == ["it's", "café"]


def test_the_shipped_encoder_says_which_words_it_does_not_know(shipped, captions):
    assert shipped.unknown_words("a paradise cosmic beach seven") == ["paradise", "cosmic", "beach"]
    assert shipped.unknown_words("a purple zebra 5 dancing") == ["zebra", "dancing"]
    assert {word for caption in captions for word in shipped.unknown_words(caption)} == set()


# --- the encoder --------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_encoder_reads_from_left_to_right():
    encoder = encoder_that_knows("a red seven blue")
    red, blue = encoder(tokenize(["a red seven", "a red blue"]))
    assert torch.equal(red[:3], blue[:3])  # start, "a", "red"
    assert ((red[3:5] - blue[3:5]).abs().amax(1) > 0.01).all()  # the word itself and the end, which has read it


@torch.no_grad()
def test_the_summary_is_the_embedding_at_the_end_token():
    encoder = encoder_that_knows("a red seven on paper", "blue")
    tokens = tokenize(["a red seven", "blue", ""])
    expected = encoder(tokens)[torch.arange(3), torch.tensor([4, 2, 1])]
    assert torch.equal(encoder.summary(tokens), expected)


@torch.no_grad()
def test_trimming_changes_no_embedding_that_remains():
    encoder = encoder_that_knows("a red seven on white paper", "blue")
    tokens = tokenize(["a red seven on white paper", "blue", ""])
    short = trim(tokens)
    assert short.tolist() == tokens[:, :8].tolist() and short[0, -1] == END
    assert (encoder(short) - encoder(tokens)[:, :8]).abs().max() < 1e-5
    assert (encoder.summary(short) - encoder.summary(tokens)).abs().max() < 1e-5


@torch.no_grad()
def test_the_shipped_encoder_loads_whatever_pytorchs_default_precision():
    """Other libraries' loaders change it for a while, and leave it so if they are interrupted."""
    expected = TextEncoder.from_pretrained().state_dict()
    try:
        torch.set_default_dtype(torch.float64)
        loaded = TextEncoder.from_pretrained().state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(value.dtype == torch.float32 and torch.equal(loaded[name], value) for name, value in expected.items())


def test_the_saved_state_comes_back_bit_for_bit(tmp_path):
    encoder = encoder_that_knows("a red seven on paper")
    odd = torch.tensor([2049, 4097, 49405])  # in half precision they would be 2048, 4096 and 49408, as 49407 would
    encoder.table[odd] = torch.randn(3, 16, generator=seeded(1))
    for parameter in encoder.parameters():
        parameter.copy_(parameter.half())  # as they are stored
    save_weights(tmp_path / "text_encoder.safetensors", encoder.weights(), TINY)
    state, _ = read_weights("text_encoder", tmp_path)
    known = state["known_tokens"].tolist()
    assert not state["known_tokens"].is_floating_point()
    assert known == sorted({*tokenize(["a red seven on paper"]).flatten().tolist(), *odd.tolist()})
    assert len(state["known_embeddings"]) == len(known) == 10

    again = TextEncoder.from_pretrained(tmp_path)
    assert again.config == TINY
    ours, theirs = encoder.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    tokens = tokenize(["a red seven", "on paper"])
    assert torch.equal(again(tokens), encoder(tokens))


def transformers_text_model(config: TextConfig, state: dict) -> nn.Module:
    """transformers' class with the settings of ``config`` and these tensors."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    settings = {name: value for name, value in asdict(config).items() if name != "with_projection"}
    settings |= {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    theirs = (CLIPTextModelWithProjection if config.with_projection else CLIPTextModel)(CLIPTextConfig(**settings))
    prefix = "" if next(iter(theirs.state_dict())).startswith("text_model.") else "text_model."  # it depends on its age
    names = {name: name if name.startswith("text_projection.") else prefix + name for name in theirs.state_dict()}
    theirs.load_state_dict({name: state[ours] for name, ours in names.items() if ours in state}, strict=True)
    assert set(names.values()) == set(state)
    return theirs.eval()


CONFIGS = [
    TINY,
    TextConfig(48, 40, 3, 4, 24, hidden_act="gelu", layer_norm_eps=1e-3),
    TextConfig(24, 64, 1, 6, 32, with_projection=True),
]


@pytest.mark.parametrize("config", [*CONFIGS, None], ids=["tiny", "gelu", "projection", "shipped"])
@torch.no_grad()
def test_the_encoder_equals_transformers(config):
    encoder = TextEncoder(config).eval() if config else TextEncoder.from_pretrained()
    if config:  # zeros in the table and equal biases would hide mistakes
        for i, parameter in enumerate(encoder.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(i)))
    theirs = transformers_text_model(encoder.config, encoder.state_dict())
    tokens = tokenize(["a thick red seven", "", "blue " * 75])
    expected = theirs(tokens)
    assert (encoder(tokens) - expected.last_hidden_state).abs().max() < 1e-5 < expected.last_hidden_state.std()
    summary = expected.text_embeds if encoder.config.with_projection else expected.pooler_output
    assert (encoder.summary(tokens) - summary).abs().max() < 1e-5 < summary.std()


def test_first_values_neither_grow_nor_shrink_with_the_depth():
    tokens = tokenize(["a red seven"])[:, :5]
    spreads = []
    for depth in (1, 12):
        encoder = TextEncoder(TextConfig(256, 1024, depth, 4))
        nn.init.normal_(encoder.table)
        added = []
        final = encoder.text_model["final_layer_norm"]
        final.register_forward_pre_hook(lambda layer, inputs, added=added: added.append(inputs[0]))
        encoder(tokens)
        spreads.append((added[0] - encoder.table[tokens]).std().item())
    assert spreads[1] < 2 * spreads[0] and spreads[0] > 0.1


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="hidden_act must be one of quick_gelu, gelu, not 'relu'"):
        TextConfig(hidden_act="relu")
    with pytest.raises(ValueError, match="128 channels do not divide into 3 heads"):
        TextConfig(num_attention_heads=3)


# --- unknown words, sprinkled in ----------------------------------------------------------------------------------


def test_sprinkled_captions_keep_their_words_in_order(captions):
    tokens = tokenize(captions)
    before = tokens.clone()
    sprinkled = sprinkle_unknown(tokens, seeded())
    assert torch.equal(tokens, before)
    assert torch.equal(sprinkled, sprinkle_unknown(tokens, seeded()))
    assert not torch.equal(sprinkled, sprinkle_unknown(tokens, seeded(1)))
    counts = []
    for ours, original in zip(sprinkled.tolist(), tokens.tolist(), strict=True):
        rest = [token for token in ours if token != UNKNOWN]
        counts.append(MAX_TOKENS - len(rest))
        assert rest == original[: len(rest)]
        assert ours[0] == START and ours[-1] == END
        assert UNKNOWN not in ours[ours.index(END) :]  # what follows the end, nobody reads
    shares = [counts.count(n) / 200 for n in range(5)]
    assert shares == pytest.approx([0.42, 0.42, 0.14, 0.02, 0], abs=0.1)  # three throws of a coin that shows 1/4
    assert counts.count(3) > 0


def test_an_unknown_word_may_stand_at_every_place():
    tokens = tokenize(["a red seven"] * 500)
    sprinkled = sprinkle_unknown(tokens, seeded())
    alone = sprinkled[(sprinkled == UNKNOWN).sum(1) == 1]
    places = (alone == UNKNOWN).int().argmax(1).bincount(minlength=6).tolist()
    assert places[0] == 0 and places[5:] == [0] * len(places[5:])
    assert min(places[1:5]) > 0.15 * len(alone)  # before "a", "red", "seven" and the end, equally often


def test_a_caption_that_grows_too_long_keeps_its_end_token():
    tokens = tokenize(["seven " * 75] * 50)
    sprinkled = sprinkle_unknown(tokens, seeded())
    assert sprinkled.shape == (50, 77)
    assert (sprinkled == UNKNOWN).any(1).float().mean() > 0.3
    assert (sprinkled[:, -1] == END).all()
    assert ((sprinkled == END).sum(1) == 1).all()


# --- captions dropped ---------------------------------------------------------------------------------------------


def is_dropped(tokens: torch.Tensor) -> torch.Tensor:
    """Which rows are the empty caption, (B,)."""
    return (tokens == tokenize([""])).all(1)


def test_a_dropped_caption_is_the_empty_one_and_the_others_stay(captions):
    tokens = tokenize(captions)
    before = tokens.clone()
    left = drop_captions(tokens, seeded(), 0.3)
    dropped = is_dropped(left)
    assert torch.equal(tokens, before) and left.dtype == tokens.dtype
    assert 20 < dropped.sum() < 100 and not is_dropped(tokens).any()
    assert torch.equal(left[~dropped], tokens[~dropped])


@pytest.mark.parametrize(("share", "count"), [(0, 0), (1, 200)])
def test_a_share_of_0_drops_no_caption_and_a_share_of_1_drops_all(captions, share, count):
    for seed in range(10):
        assert is_dropped(drop_captions(tokenize(captions), seeded(seed), share)).sum() == count


def test_a_tenth_of_all_captions_is_dropped():
    dropped = is_dropped(drop_captions(tokenize(["a red seven"]).expand(20_000, -1), seeded())).float()
    assert dropped.mean().item() == pytest.approx(0.1, abs=3 * (0.1 * 0.9 / 20_000) ** 0.5)


def test_which_captions_are_dropped_is_up_to_the_generator_alone(captions):
    tokens, state = tokenize(captions), torch.get_rng_state()
    first = is_dropped(drop_captions(tokens, seeded(3), 0.3))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(is_dropped(drop_captions(tokens.flip(0), seeded(3), 0.3)), first)
    assert not torch.equal(is_dropped(drop_captions(tokens, seeded(4), 0.3)), first)


# --- the contrastive loss -----------------------------------------------------------------------------------------


class Given(nn.Module):
    """Answers the same embeddings whatever it is shown, as text encoder or as image encoder."""

    def __init__(self, embeddings: torch.Tensor):
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)

    def summary(self, tokens):
        return self.embeddings

    def forward(self, images):
        return self.embeddings


def clip_of(images, texts, scale: float = math.e) -> CLIP:
    clip = CLIP(Given(texts), Given(images))
    nn.init.constant_(clip.log_scale, math.log(scale))
    return clip


def test_contrastive_loss_by_hand():
    """Three pictures along the axes, of any length; captions 1 and 2 are right, caption 3 looks like picture 1."""
    images = torch.diag(torch.tensor([1.0, 5.0, 0.2]))
    texts = torch.tensor([[2.0, 0, 0], [0, 7, 0], [3, 0, 0]])
    # cosines, rows pictures, columns captions: [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    loss = clip_of(images, texts, scale=2.0)(None, None).item()
    e = math.exp(2)
    rows = [math.log((2 * e + 1) / e), math.log((e + 2) / e), math.log(3)]
    columns = [math.log((e + 2) / e), math.log((e + 2) / e), math.log(e + 2)]
    assert loss == pytest.approx((sum(rows) / 3 + sum(columns) / 3) / 2, rel=1e-6)


def test_contrastive_loss_brings_own_pairs_together_and_drives_others_apart():
    images, texts = (F.normalize(torch.randn(3, 8, generator=seeded(i)), dim=1) for i in (0, 1))
    clip = clip_of(images, texts, scale=10.0)
    before = clip.similarity(None, None).detach()
    clip(None, None).backward()
    with torch.no_grad():
        for parameter in (clip.text.embeddings, clip.image.embeddings):
            parameter -= 0.2 * parameter.grad
    change = clip.similarity(None, None).detach() - before
    assert (change.diag() > 0).all()
    others = change[~torch.eye(3, dtype=torch.bool)]
    assert others.mean() < 0 < change.diag().mean()


def test_the_scale_of_the_scores_has_an_end():
    clip = clip_of(torch.eye(3), torch.eye(3), scale=1e4)
    assert clip.similarity(None, None).tolist() == [[100, 0, 0], [0, 100, 0], [0, 0, 100]]


# --- what the shipped encoder has understood ----------------------------------------------------------------------

TRIPLES = [
    ("a red seven", "scarlet 7", "a blue two"),
    ("a thick green 3", "bold emerald three", "a thin green 3"),
    ("4 leaning left", "a four slanted to the left", "4 leaning right"),
    ("a yellow nine on white", "golden 9, white paper", "a yellow nine on dark blue"),
    ("thin 1", "one drawn with a fine pen", "thick 1"),
    ("8 on navy", "eight against a midnight blue background", "8 on grey"),
    ("purple five", "violet 5", "orange five"),
    ("cyan zero upright", "a turquoise 0 standing straight", "cyan zero leaning right"),
    ("a thick red two leaning to the right", "sketch a chubby scarlet 2 that slopes right", "a thin red two"),
    ("a cyan 1 on white", "one. cyan. white paper.", "a cyan 1"),
]


@pytest.mark.parametrize("prompt, same, other", TRIPLES)
@torch.no_grad()
def test_other_words_for_the_same_are_nearer_than_another_thing(shipped, prompt, same, other):
    own, near, far = F.normalize(shipped.summary(tokenize([prompt, same, other])), dim=1)
    assert own @ near > 0.9 > own @ far


@torch.no_grad()
def test_an_unknown_word_hardly_moves_a_captions_meaning(shipped):
    plain, with_unknown, other = F.normalize(
        shipped.summary(tokenize(["a red seven", "a cosmic red seven", "a red two"])), dim=1
    )
    assert plain @ with_unknown > 0.95 > plain @ other
