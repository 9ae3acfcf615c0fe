"""Words into numbers: CLIP's own tokenizer, a tiny CLIP text encoder, and how it learns from pictures.

Design choices
- The vocabulary is CLIP's, all 49,408 tokens, so that a prompt has the same token numbers here and in Stable Diffusion.
- The encoder is transformers' ``CLIPTextModel`` with small settings. Its token table starts at zero and rows of words
  that never occur stay there: an unknown word says nothing, instead of something random.
- It is trained contrastively against a small image encoder (Radford et al. 2021) and then frozen, as Stable Diffusion
  does. Its file holds only the rows of the table that were trained; the others are zero.
"""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.weights import fitting, read_weights

MAX_TOKENS = 77
VOCABULARY_SIZE = 49_408
START, END = 49_406, 49_407
UNKNOWN = 49_405  # the rarest token of the vocabulary; no caption of ours has it
_TABLE = "embeddings.token_embedding.weight"


class PromptWarning(UserWarning):
    """Something about a prompt that its writer would want to know."""


# ---------------------------------------------------------------- tokens


@cache
def clip_tokenizer():
    """transformers' ``CLIPTokenizer`` with CLIP's real vocabulary, built from the merges shipped with the package."""
    from transformers import CLIPTokenizer

    file = Path(__file__).parent / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : VOCABULARY_SIZE - 512 - 2 + 1]]
    letters = _byte_letters()
    names = [*letters, *(f"{x}</w>" for x in letters), *map("".join, merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def _byte_letters() -> list[str]:
    """The 256 byte values as printable letters, in CLIP's order: printable ones first, the others moved up by 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(b) for b in printable] + [chr(256 + n) for n in range(others)]


def tokenize(prompts: str | Sequence[str]) -> Tensor:
    """Prompts to token numbers: start, the words' tokens, end, and end again up to 77.

    Args:
        prompts: one text or many; capitals do not matter. More than 75 tokens are cut, with a warning.

    Returns:
        int64 (B, 77).
    """
    tokenizer = clip_tokenizer()
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    rows = tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
    room = MAX_TOKENS - 2
    for row in rows:
        if len(row) > room:
            lost = tokenizer.decode(row[room:]).strip()
            warnings.warn(f"prompt cut after {room} tokens; not read: {lost!r}", PromptWarning, stacklevel=2)
    full = [[START, *row[:room], END] + [END] * (room - len(row)) for row in rows]
    return torch.tensor(full, dtype=torch.int64)


# ---------------------------------------------------------------- encoder


@dataclass(frozen=True)
class TextConfig:
    """Settings of a `TextEncoder`; the names are those of transformers' ``CLIPTextConfig``."""

    hidden_size: int = 128
    intermediate_size: int = 512
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    projection_dim: int = 128


class TextEncoder(nn.Module):
    """transformers' ``CLIPTextModel`` with a token table that starts at zero.

    ``encoder.model`` is the transformers model itself.
    """

    def __init__(self, config: TextConfig = TextConfig()):
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel

        self.config = config
        ids = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
        sizes = {"vocab_size": VOCABULARY_SIZE, "max_position_embeddings": MAX_TOKENS, **config.__dict__}
        self.model = CLIPTextModel(CLIPTextConfig(**sizes, **ids))
        nn.init.zeros_(self.table)

    @property
    def table(self) -> nn.Parameter:
        """The token embeddings, (49408, hidden_size)."""
        return self.model.get_input_embeddings().weight

    def forward(self, tokens: Tensor) -> Tensor:
        """One embedding per token, what the UNet's cross-attention reads: (B, 77) -> (B, 77, hidden_size)."""
        return self.model(tokens).last_hidden_state

    def summary(self, tokens: Tensor) -> Tensor:
        """One embedding per prompt, at its end token, which has read all others: (B, 77) -> (B, hidden_size)."""
        return self.model(tokens).pooler_output

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of ``prompt`` that training never saw and that therefore have no effect."""
        words = dict.fromkeys(re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d", prompt.lower()))
        rows = clip_tokenizer()(list(words), add_special_tokens=False)["input_ids"] if words else []
        return [word for word, row in zip(words, rows, strict=True) if not self.table[row].any()]

    def weights(self) -> dict[str, Tensor]:
        """The state to save: of the token table only the rows that are not zero, and their numbers."""
        state = {name.removeprefix("text_model."): value for name, value in self.model.state_dict().items()}
        table = state.pop(_TABLE)
        known = table.any(dim=1).nonzero()[:, 0]
        return {**state, "known_tokens": known.int(), "known_embeddings": table[known]}

    @torch.no_grad()
    def load_weights(self, state: dict[str, Tensor]) -> None:
        """The opposite of `weights`."""
        table = torch.zeros_like(self.table)
        table[state["known_tokens"].long()] = state["known_embeddings"]
        state = {_TABLE: table, **{name: value for name, value in state.items() if not name.startswith("known_")}}
        own = self.model.state_dict().keys()  # some versions of transformers put "text_model." in front
        prefix = "text_model." if any(name.startswith("text_model.") for name in own) else ""
        self.model.load_state_dict({prefix + name: value for name, value in state.items()}, assign=True)

    @classmethod
    def from_pretrained(cls, folder=None) -> TextEncoder:
        """The shipped encoder (`tinyldm train clip` made it), or one from ``folder``.

        Raises:
            WeightsError: the file is missing, damaged, or its settings do not fit its tensors.
        """
        state, metadata = read_weights("text_encoder", folder)
        with fitting("text_encoder", folder):
            encoder = cls(TextConfig(**metadata["settings"]))
            encoder.load_weights(state)
        return encoder.eval().requires_grad_(False)


# ---------------------------------------------------------------- contrastive pre-training


class ImageEncoder(nn.Module):
    """Pictures into the space of the prompts, only for pre-training: (B, 3, 32, 32) in [-1, 1] -> (B, dim)."""

    def __init__(self, dim: int = 128, channels: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        layers, width = [], 3
        for out in channels:  # (B, width, H, W) -> (B, out, H/2, W/2)
            layers += [nn.Conv2d(width, out, 3, stride=2, padding=1), nn.GroupNorm(8, out), nn.GELU()]
            layers += [nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(8, out), nn.GELU()]
            width = out
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 4 * 4, dim))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 32, 32) -> (B, dim)."""
        return self.net(images)


class CLIP(nn.Module):
    """Text encoder and image encoder, trained to agree on which caption belongs to which picture."""

    def __init__(self, text: TextEncoder, image: ImageEncoder):
        super().__init__()
        self.text, self.image = text, image
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # exp = 14.3, a temperature of 0.07 as in the paper

    def similarity(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Cosine of every picture with every caption times the learned scale: (B, 3, 32, 32), (B, 77) -> (B, B)."""
        images, texts = F.normalize(self.image(images), dim=1), F.normalize(self.text.summary(tokens), dim=1)
        return self.log_scale.exp().clamp(max=100) * images @ texts.T

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Contrastive loss: each picture must find its caption among all, each caption its picture.

        L = (CE(S, i) + CE(S^T, i)) / 2                       (Radford et al. 2021, figure 3)
        """
        scores = self.similarity(images, tokens)
        own = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def keep_unknown_silent(encoder: TextEncoder, captions: Tensor) -> None:
    """From now on only the table's rows of tokens that occur in ``captions`` (N, 77) learn; all others stay zero."""
    known = torch.zeros(VOCABULARY_SIZE, 1)
    known[captions.unique()] = 1
    encoder.table.register_hook(lambda gradient: gradient * known.to(gradient))


def trim(tokens: Tensor) -> Tensor:
    """Cut off the columns behind the longest caption's end token: (B, 77) -> (B, longest).

    The encoder reads from left to right only, so a caption's own embeddings, its summary too, stay what they were.
    """
    return tokens[:, : int((tokens == END).int().argmax(1).max()) + 1]


def sprinkle_unknown(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Put one to three unknown words into more than half of the captions, so that their readers learn to skip them.

    All words never trained on have the same embedding, zero; the token ``UNKNOWN`` stands for them.

    Args:
        tokens: captions, (B, 77).
        generator: which captions, where and how many.

    Returns:
        (B, 77); the end of a caption that grows too long is cut, its end token stays.
    """
    tokens = tokens.clone()
    for _ in range(3):
        lengths = (tokens == END).int().argmax(1)  # position of the first end token
        at = 1 + (torch.rand(len(tokens), generator=generator) * lengths).long()
        at = torch.minimum(at, lengths)
        chosen = torch.rand(len(tokens), generator=generator) < 0.25
        position = torch.arange(tokens.shape[1])
        source = torch.where(position > at[:, None], position - 1, position)
        longer = tokens.gather(1, source)
        longer[torch.arange(len(tokens)), at] = UNKNOWN
        longer[:, -1] = END
        tokens = torch.where(chosen[:, None], longer, tokens)
    return tokens
