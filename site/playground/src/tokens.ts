// CLIP's byte-pair encoding, set up as in tinyldm/text.py: the same ids for every text, known words or not.

import { Tokenizer } from "@huggingface/tokenizers";

export const MAX_TOKENS = 77;
const SPECIAL = ["<|startoftext|>", "<|endoftext|>"];

/** A token of a prompt: what it looks like, its id in CLIP's vocabulary, and its row of the table, 0 if unknown. */
export interface Token {
  text: string;
  id: number;
  row: number;
}

export class Vocabulary {
  private tokenizer: Tokenizer;
  private rows: Map<number, number>;

  /** `merges`: CLIP's list, one pair per line; `known`: the ids whose rows were trained. */
  constructor(
    merges: string,
    known: number[],
    private start: number,
    private end: number,
  ) {
    this.tokenizer = clip_tokenizer(merges.trimEnd().split("\n"));
    this.rows = new Map(known.map((id, i) => [id, i + 1]));
  }

  /** The prompt's tokens, without start, end and padding; of any number. */
  encode(prompt: string): Token[] {
    const { ids, tokens } = this.tokenizer.encode(prompt, { add_special_tokens: false });
    return ids.map((id: number, i: number) => ({ text: tokens[i], id, row: this.rows.get(id) ?? 0 }));
  }

  decode(tokens: Token[]): string {
    return this.tokenizer.decode(
      tokens.map((token) => token.id),
      { clean_up_tokenization_spaces: false },
    );
  }

  /** start, the prompt's tokens, end, padded with end to 77: CLIP's ids, (77). */
  tokenize(prompt: string): number[] {
    const ids = this.encode(prompt)
      .slice(0, MAX_TOKENS - 2)
      .map((token) => token.id);
    return [this.start, ...ids, this.end, ...Array(MAX_TOKENS - 2 - ids.length).fill(this.end)];
  }

  /** The same as rows of the table, (77). */
  rows_of(prompt: string): number[] {
    return this.tokenize(prompt).map((id) => this.rows.get(id) ?? 0);
  }
}

function clip_tokenizer(merges: string[]): Tokenizer {
  const letters = byte_letters();
  const names = [
    ...letters,
    ...letters.map((x) => `${x}</w>`),
    ...merges.map((pair) => pair.replace(" ", "")),
    ...SPECIAL,
  ];
  const vocab = Object.fromEntries(names.map((name, id) => [name, id]));
  const added = SPECIAL.map((content) => ({
    id: vocab[content],
    content,
    special: true,
    normalized: false,
    single_word: false,
    lstrip: false,
    rstrip: false,
  }));
  const words = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
  const json = {
    version: "1.0",
    added_tokens: added,
    normalizer: {
      type: "Sequence",
      normalizers: [
        { type: "NFC" },
        { type: "Replace", pattern: { Regex: "\\s+" }, content: " " },
        { type: "Lowercase" },
      ],
    },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: words }, behavior: "Removed", invert: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: null,
    decoder: {
      type: "Sequence",
      decoders: [{ type: "ByteLevel" }, { type: "Replace", pattern: { String: "</w>" }, content: " " }],
    },
    model: { type: "BPE", vocab, merges, unk_token: SPECIAL[1], end_of_word_suffix: "</w>" },
  };
  return new Tokenizer(json, {});
}

/** The 256 byte values as printable characters, in CLIP's order: printable ones first, then the rest from 256 up. */
function byte_letters(): string[] {
  const printable = [...between("!", "~"), ...between("¡", "¬"), ...between("®", "ÿ")];
  const others = Array.from({ length: 256 - printable.length }, (_, i) => 256 + i);
  return [...printable, ...others].map((code) => String.fromCharCode(code));
}

function between(first: string, last: string): number[] {
  const [start, end] = [first.charCodeAt(0), last.charCodeAt(0)];
  return Array.from({ length: end - start + 1 }, (_, i) => start + i);
}
