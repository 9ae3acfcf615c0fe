"""From words to numbers: CLIP's own tokenizer, a tiny CLIP text encoder, and its contrastive pre-training on images.

Design choices
- The vocabulary is CLIP's, all 49,408 tokens, so that a prompt has the same token ids here and in Stable Diffusion.
- The encoder is transformers' ``CLIPTextModel`` with small settings. Its token table starts at zero, and the rows of
  words that never occur stay there: an unknown word has no effect, instead of a random one.
- It is trained contrastively against a small image encoder (Radford et al. 2021) and then frozen, as Stable Diffusion
  does. Its file holds only the rows of the table that were trained; the others are zero.
"""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.weights import blaming, read_weights, weights_path

MAX_TOKENS = 77
VOCABULARY_SIZE = 49_408
START, END = 49_406, 49_407
UNKNOWN = 49_405  # the rarest token of the vocabulary; none of our captions contains it
_TABLE = "embeddings.token_embedding.weight"


class PromptWarning(UserWarning):
    """Something about a prompt that its writer would want to know."""


# ---------------------------------------------------------------- tokens


@cache
def clip_tokenizer() -> Any:
    """transformers' ``CLIPTokenizer`` with CLIP's real vocabulary, built from the merges shipped with the package."""
    from transformers import CLIPTokenizer

    file = Path(__file__).parent / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")
    merges: list[Any] = [tuple(line.split()) for line in lines[1 : VOCABULARY_SIZE - 512 - 2 + 1]]
    letters = _byte_letters()
    names = [*letters, *(f"{x}</w>" for x in letters), *map("".join, merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def _byte_letters() -> list[str]:
    """The 256 byte values as printable characters, in CLIP's order: printable ones first, then the rest from 256 up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(b) for b in printable] + [chr(256 + n) for n in range(others)]


def tokenize(prompts: str | Sequence[str]) -> Tensor:
    """Turn prompts into token ids: start, the words' tokens, end, padded with end to 77.

    Args:
        prompts: one prompt or several; case does not matter. Beyond 75 tokens they are cut, with a warning.

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
        sizes: dict[str, Any] = {"vocab_size": VOCABULARY_SIZE, "max_position_embeddings": MAX_TOKENS}
        sizes |= {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
        self.model = CLIPTextModel(CLIPTextConfig(**sizes, **asdict(config)))
        nn.init.zeros_(self.table)

    @property
    def table(self) -> nn.Parameter:
        """The token embeddings, (49408, hidden_size)."""
        return cast(nn.Parameter, self.model.get_input_embeddings().weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """One embedding per token, what the UNet's cross-attention reads: (B, 77) -> (B, 77, hidden_size)."""
        return self.model(tokens).last_hidden_state

    def summary(self, tokens: Tensor) -> Tensor:
        """One embedding per prompt, that of its end token, which sees all others: (B, 77) -> (B, hidden_size)."""
        return self.model(tokens).pooler_output

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of ``prompt`` that were never seen in training and therefore have no effect."""
        words = dict.fromkeys(re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d", prompt.lower()))
        rows = clip_tokenizer()(list(words), add_special_tokens=False)["input_ids"] if words else []
        return [word for word, row in zip(words, rows, strict=True) if not self.table[row].any()]

    def weights(self) -> dict[str, Tensor]:
        """The state to save: of the token table, only the rows that are not zero, and their indices."""
        state = {name.removeprefix("text_model."): value for name, value in self.model.state_dict().items()}
        table = state.pop(_TABLE)
        trained = table.any(dim=1).nonzero()[:, 0]
        return {**state, "known_tokens": trained.int(), "known_embeddings": table[trained]}

    @torch.no_grad()
    def load_weights(self, state: dict[str, Tensor]) -> None:
        """The inverse of `weights`."""
        table = torch.zeros_like(self.table)
        table[state["known_tokens"].long()] = state["known_embeddings"]
        state = {_TABLE: table, **{name: value for name, value in state.items() if not name.startswith("known_")}}
        own = self.model.state_dict().keys()  # some versions of transformers put "text_model." in front
        prefix = "text_model." if any(name.startswith("text_model.") for name in own) else ""
        self.model.load_state_dict({prefix + name: value for name, value in state.items()}, assign=True)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> TextEncoder:
        """The shipped encoder (made by `tinyldm train clip`), or one from ``folder``.

        Raises:
            WeightsError: if the file is missing or damaged, or its settings do not fit its tensors.
        """
        state, metadata = read_weights("text_encoder", folder)
        with blaming(weights_path("text_encoder", folder)), torch.random.fork_rng(devices=[]):
            encoder = cls(TextConfig(**metadata["settings"]))
            encoder.load_weights(state)
        return encoder.eval().requires_grad_(False)


# ---------------------------------------------------------------- contrastive pre-training


class ImageEncoder(nn.Module):
    """Map images to the prompts' embedding space, for pre-training only: (B, 3, 32, 32) in [-1, 1] -> (B, dim)."""

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
    """Text encoder and image encoder, trained to agree on which caption belongs to which image."""

    def __init__(self, text: TextEncoder, image: ImageEncoder):
        super().__init__()
        self.text, self.image = text, image
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # exp = 14.3, a temperature of 0.07 as in the paper

    def similarity(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Cosine similarity of each image and caption, times a learned scale: (B, 3, 32, 32), (B, 77) -> (B, B)."""
        images, texts = F.normalize(self.image(images), dim=1), F.normalize(self.text.summary(tokens), dim=1)
        return self.log_scale.exp().clamp(max=100) * images @ texts.T

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Contrastive loss: each image must find its caption among all captions, and each caption its image.

        L = (CE(S, i) + CE(S^T, i)) / 2                       (Radford et al. 2021, figure 3)
        """
        scores = self.similarity(images, tokens)
        targets = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, targets) + F.cross_entropy(scores.T, targets)) / 2


def keep_unknown_silent(encoder: TextEncoder, captions: Tensor) -> None:
    """From now on, train only the table rows of tokens that occur in ``captions`` (N, 77); all others stay zero."""
    occurs = torch.zeros(VOCABULARY_SIZE, 1)
    occurs[captions.unique()] = 1
    encoder.table.register_hook(lambda gradient: gradient * occurs.to(gradient))


def trim(tokens: Tensor) -> Tensor:
    """Cut off the columns after the longest caption's end token: (B, 77) -> (B, longest).

    The encoder reads from left to right only, so a caption's own embeddings, and its summary, do not change.
    """
    return tokens[:, : int((tokens == END).int().argmax(1).max()) + 1]


def drop_captions(tokens: Tensor, generator: torch.Generator, share: float = 0.1) -> Tensor:
    """Replace some captions with the empty one, so that a model also learns to do without (Ho & Salimans 2022, alg. 1).

    Args:
        tokens: captions, (B, 77).
        generator: source of randomness.
        share: the fraction to replace, in [0, 1].

    Returns:
        (B, 77).
    """
    empty = torch.full_like(tokens[:1], END)
    empty[0, 0] = START
    dropped = torch.rand(len(tokens), generator=generator) < share
    return torch.where(dropped[:, None], empty, tokens)


def sprinkle_unknown(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Insert one to three unknown words into more than half of the captions, so that models learn to ignore them.

    Words never seen in training all have the same embedding, zero; the token ``UNKNOWN`` stands for them.

    Args:
        tokens: captions, (B, 77).
        generator: decides which captions, where and how many.

    Returns:
        (B, 77); a caption that grows too long is cut, but keeps its end token.
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
