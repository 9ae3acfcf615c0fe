"""From words to numbers: CLIP's own tokenizer, its text encoder in small, and its contrastive pre-training on images.

Design choices
- The vocabulary is CLIP's, all 49,408 tokens, so that a prompt has the same token ids here and in Stable Diffusion.
- The encoder is CLIP's text transformer. Its tensors have the names of the published files, which are those of
  transformers' ``CLIPTextModel``: with Stable Diffusion 1.x's settings, its 196 tensors load as they are.
- Its token table starts at zero, and the rows of words that never occur stay there: an unknown word has no effect,
  instead of a random one.
- It is trained contrastively against a small image encoder (Radford et al. 2021) and then frozen, as Stable Diffusion
  does. Its file holds only the rows of the table that were trained; the others are zero.
"""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import TinyldmWarning
from tinyldm.captions import shorten, words_of
from tinyldm.unet import dot_product_attention, split_heads
from tinyldm.weights import load_into

MAX_TOKENS = 77
VOCABULARY_SIZE = 49_408
START, END = 49_406, 49_407
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
DROPPED = 0.1  # the share of captions that a model is trained without
UNKNOWN = 49_405  # the rarest token of the vocabulary; none of our captions contains it
_EMBEDDINGS = {"token_embedding": VOCABULARY_SIZE, "position_embedding": MAX_TOKENS}
_TABLE = "embeddings.token_embedding.weight"


class PromptWarning(TinyldmWarning):
    """Something about a prompt that its writer would want to know."""


# ---------------------------------------------------------------- tokens


@cache
def clip_merges() -> list[tuple[str, str]]:
    """CLIP's 48,894 pairs of letters or longer pieces that were joined, most frequent first, from the shipped list."""
    file = Path(__file__).parent / "vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode().split("\n")
    return [(first, second) for first, second in map(str.split, lines[1 : VOCABULARY_SIZE - 512 - 2 + 1])]


@cache
def clip_vocabulary() -> dict[str, int]:
    """CLIP's 49,408 tokens and their ids: single bytes, the same at the end of a word, joined pairs, start and end."""
    letters = _byte_letters()
    names = [*letters, *(f"{x}</w>" for x in letters), *map("".join, clip_merges()), *SPECIAL]
    return {name: number for number, name in enumerate(names)}


@cache
def clip_tokenizer() -> Any:
    """CLIP's byte-pair encoding as a ``tokenizers.Tokenizer``, without start, end and padding (`tokenize` adds them).

    >>> clip_tokenizer().encode("a red seven").tokens
    ['a</w>', 'red</w>', 'seven</w>']

    Its ids equal those of transformers' ``CLIPTokenizer``, which takes ten times as long to import.
    """
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    tokenizer = Tokenizer(BPE(clip_vocabulary(), clip_merges(), end_of_word_suffix="</w>", unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = "|".join([*map(re.escape, SPECIAL), r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


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
    rows = [encoding.ids for encoding in tokenizer.encode_batch(prompts)]
    room = MAX_TOKENS - 2
    for row in rows:
        if len(row) > room:
            lost = shorten(tokenizer.decode(row[room : room + MAX_TOKENS]).strip())
            warnings.warn(f"prompt cut after {room} tokens; not read: {lost!r}", PromptWarning, stacklevel=2)
    full = [[START, *row[:room], END] + [END] * (room - len(row)) for row in rows]
    return torch.tensor(full, dtype=torch.int64)


# ---------------------------------------------------------------- encoder


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's cheaper GELU, x σ(1.702 x) (Hendrycks & Gimpel 2016, section 2)."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}


@dataclass(frozen=True)
class TextConfig:
    """Settings of a `TextEncoder`; the names are those of transformers' ``CLIPTextConfig``.

    Args:
        hidden_size: width of an embedding.
        intermediate_size: width inside of the feed-forward part.
        num_hidden_layers: how many layers.
        num_attention_heads: heads of each.
        projection_dim: width of the space that CLIP compares texts and images in.
        hidden_act: "quick_gelu" (OpenAI's CLIP, Stable Diffusion 1.x) or "gelu" (later ones).
        layer_norm_eps: epsilon of every layer norm.
        with_projection: whether the summary is projected to ``projection_dim``, as CLIP compares it; Stable Diffusion
            1.x, which does not use the summary, has no projection.

    Raises:
        ValueError: if the settings contradict each other.
    """

    hidden_size: int = 128
    intermediate_size: int = 512
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    projection_dim: int = 128
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    with_projection: bool = False

    def __post_init__(self) -> None:
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act must be one of {', '.join(ACTIVATIONS)}, not {self.hidden_act!r}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.hidden_size} channels do not divide into {self.num_attention_heads} heads")


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention in which each token reads itself and those before it, never those after.

    softmax(Q K^T / sqrt(d) + M) V,   M = -∞ where the key comes after the query   (Vaswani et al. 2017, section 3.2.3)
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, channels) -> (B, N, channels)."""
        q, k, v = (split_heads(h, self.heads) for h in (self.q_proj(x), self.k_proj(x), self.v_proj(x)))
        h = dot_product_attention(q, k, v, causal=True)
        return self.out_proj(h.transpose(1, 2).flatten(2))  # (B, heads, N, d) -> (B, N, heads*d)


class TextBlock(nn.Module):
    """A layer of the encoder: attention, then a feed-forward part that treats each token on its own.

    x += attention(norm1(x));   x += fc2(act(fc1(norm2(x))))            (Radford et al. 2019, section 2.3)
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.self_attn = CausalSelfAttention(width, config.num_attention_heads)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, config.intermediate_size), "fc2": nn.Linear(config.intermediate_size, width)}
        )
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, hidden_size) -> (B, N, hidden_size)."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp["fc2"](self.activation(self.mlp["fc1"](self.layer_norm2(x))))


class TextEncoder(nn.Module):
    """CLIP's text encoder, with a token table that starts at zero (Radford et al. 2021, section 2.4).

    x = table[tokens] + position;   x = layer(x) for each layer;   norm(x)

    What lies in ``text_model`` is nested just so that its tensors get their published names.

    Args:
        config: settings, kept as ``.config``.
    """

    def __init__(self, config: TextConfig = TextConfig()):
        super().__init__()
        self.config = config
        width = config.hidden_size
        embeddings = {name: nn.Embedding(n, width) for name, n in _EMBEDDINGS.items()}
        layers = nn.ModuleList(TextBlock(config) for _ in range(config.num_hidden_layers))
        self.text_model = nn.ModuleDict(
            {
                "embeddings": nn.ModuleDict(embeddings),
                "encoder": nn.ModuleDict({"layers": layers}),
                "final_layer_norm": nn.LayerNorm(width, config.layer_norm_eps),
            }
        )
        self.text_projection = nn.Linear(width, config.projection_dim, bias=False) if config.with_projection else None
        self._set_first_values()

    @torch.no_grad()
    def _set_first_values(self) -> None:
        """Standard deviations as in CLIP's own code, such that the depth does not change a signal's size."""
        width, depth = self.config.hidden_size, self.config.num_hidden_layers
        branch = width**-0.5 * (2 * depth) ** -0.5  # what each of the 2 * depth branches adds
        stds = {"position_embedding": 0.01, "fc1": (2 * width) ** -0.5, "out_proj": branch, "fc2": branch}
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.normal_(layer.weight, std=stds.get(name.split(".")[-1], width**-0.5))
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.table)

    @property
    def table(self) -> nn.Parameter:
        """The token embeddings, (49408, hidden_size)."""
        return self.get_parameter(f"text_model.{_TABLE}")

    def forward(self, tokens: Tensor) -> Tensor:
        """One embedding per token, what the UNet's cross-attention reads: (B, N <= 77) -> (B, N, hidden_size)."""
        position = self.get_parameter("text_model.embeddings.position_embedding.weight")
        x = F.embedding(tokens, self.table) + position[: tokens.shape[1]]  # (B, N) -> (B, N, hidden_size)
        for layer in self.get_submodule("text_model.encoder.layers").children():
            x = layer(x)
        return self.text_model["final_layer_norm"](x)

    def summary(self, tokens: Tensor) -> Tensor:
        """One embedding per prompt, that of its end token, which has read all others.

        (B, N <= 77) -> (B, hidden_size), or (B, projection_dim) with the projection.
        """
        end = (tokens == END).int().argmax(1)  # where the first one is
        summary = self(tokens)[torch.arange(len(tokens), device=tokens.device), end]
        return summary if self.text_projection is None else self.text_projection(summary)

    def unknown_words(self, prompt: str) -> list[str]:
        """Words of ``prompt`` that were never seen in training and therefore have no effect."""
        words = dict.fromkeys(words_of(prompt))
        rows = [encoding.ids for encoding in clip_tokenizer().encode_batch(list(words))]
        return [word for word, row in zip(words, rows, strict=True) if not self.table[row].any()]

    def weights(self) -> dict[str, Tensor]:
        """The state to save: of the token table, only the rows that are not zero, and their indices."""
        state = {name.removeprefix("text_model."): value for name, value in self.state_dict().items()}
        table = state.pop(_TABLE)
        trained = table.any(dim=1).nonzero()[:, 0]
        return {**state, "known_tokens": trained.int(), "known_embeddings": table[trained]}

    def load_weights(self, state: dict[str, Tensor]) -> None:
        """The inverse of `weights`."""
        table = torch.zeros(self.table.shape, dtype=state["known_embeddings"].dtype)
        table.index_copy_(0, state["known_tokens"].long(), state["known_embeddings"])  # takes no negative index
        state = {_TABLE: table, **{name: value for name, value in state.items() if not name.startswith("known_")}}
        names = {name: name if name.startswith("text_projection.") else f"text_model.{name}" for name in state}
        self.load_state_dict({names[name]: value for name, value in state.items()}, assign=True)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> TextEncoder:
        """The shipped encoder (made by `tinyldm train clip`), or one from ``folder``.

        Raises:
            WeightsError: if the file is missing or damaged, or its settings do not fit its tensors.
        """
        return load_into(cls, TextConfig, "text_encoder", folder)


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
    occurs[captions.unique().cpu()] = 1

    def silence(gradient: Tensor) -> Tensor:
        nonlocal occurs
        occurs = occurs.to(gradient)  # where it stays
        return gradient * occurs

    encoder.table.register_hook(silence)


def trim(tokens: Tensor) -> Tensor:
    """Cut off the columns after the longest caption's end token: (B, 77) -> (B, longest).

    The encoder reads from left to right only, so a caption's own embeddings, and its summary, do not change.
    """
    return tokens[:, : int((tokens == END).int().argmax(1).max()) + 1]


def drop_captions(tokens: Tensor, generator: torch.Generator, share: float = DROPPED) -> Tensor:
    """Replace some captions with the empty one, so that a model also learns to do without (Ho & Salimans 2022, alg. 1).

    Args:
        tokens: captions, (B, 77).
        generator: source of randomness.
        share: the fraction to replace, in [0, 1].

    Returns:
        (B, 77).
    """
    empty = torch.full_like(tokens[:1], END)
    empty[:, 0].fill_(START)
    dropped = torch.rand(len(tokens), generator=generator, device=generator.device) < share
    return torch.where(dropped[:, None], empty, tokens)


def sprinkle_unknown(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Insert one to three unknown words into more than half of the captions, so that models learn to ignore them.

    Words never seen in training all have the same embedding, zero; the token ``UNKNOWN`` stands for them.

    Args:
        tokens: captions, (B, 77), on the generator's device (as in `drop_captions`).
        generator: decides which captions, where and how many.

    Returns:
        (B, 77); a caption that grows too long is cut, but keeps its end token.
    """
    tokens, device = tokens.clone(), generator.device
    for _ in range(3):
        lengths = (tokens == END).int().argmax(1)  # position of the first end token
        at = 1 + (torch.rand(len(tokens), generator=generator, device=device) * lengths).long()
        at = torch.minimum(at, lengths)
        chosen = torch.rand(len(tokens), generator=generator, device=device) < 0.25
        position = torch.arange(tokens.shape[1], device=device)
        source = torch.where(position > at[:, None], position - 1, position)
        longer = tokens.gather(1, source).scatter(1, at[:, None], UNKNOWN)
        longer[:, -1] = END
        tokens = torch.where(chosen[:, None], longer, tokens)
    return tokens
