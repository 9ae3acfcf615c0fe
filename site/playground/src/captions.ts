// What a prompt asks for that cannot be drawn, in the sentences of tinyldm/captions.py and pipeline.py. The tables come
// from there (caption_tables.py); each function has the name of its original.

import tables from "./captions.json";
import type { Token, Vocabulary } from "./tokens.ts";

const { DIGIT_WORDS, INK_WORDS, BACKGROUND_WORDS, BACKGROUND_FORMS, INK_FORMS, STROKE_WORDS, SIDE_WORDS } = tables;
const { UPRIGHT_FORMS, NUMBER_WORDS, OTHER_COLOURS, NEGATIONS, SHADES, SLIPS, NO_SLIPS, ARTICLES } = tables;

const LETTER = "[\\p{L}\\p{N}_]"; // of a word, as Python's \w
const pattern = (source: string, flags = "gu"): RegExp => new RegExp(source.replaceAll("\\w", LETTER), flags);
const whole = (source: string): string => `(?<!\\w)(?:${source})(?!\\w)`;
const distinct = <T>(values: Iterable<T>): T[] => [...new Set(values)];
const longest_first = (words: string[]): string[] => words.sort((a, b) => b.length - a.length);

/** The words of a text in lower case, its digits and signs (emoji) one by one; no punctuation. */
export function words_of(text: string): string[] {
  const kept = Array.from(text.normalize("NFC").toLowerCase(), (character) => {
    if (/[\p{L}\p{M}'’]/u.test(character)) return character;
    return /[\p{N}\p{So}]/u.test(character) ? ` ${character} ` : " ";
  });
  const words = kept
    .join("")
    .split(/\s+/)
    .map((word) => word.replace(/^['’]+|['’]+$/g, ""));
  return words.filter((word) => word && !/^\p{M}/u.test(word));
}

/** The text on one line, without control characters, cut to at most `length` characters. */
export function shorten(text: string, length = 60): string {
  const letters = Array.from(text.slice(0, 40 * length));
  const start = letters.slice(0, 20 * length).join("");
  const line = start
    .replace(/[^\P{C}]|[\p{Zl}\p{Zp}\p{Zs}]/gu, " ")
    .split(/\s+/)
    .filter(Boolean)
    .join(" ");
  const short = Array.from(line);
  if (short.length <= length && start === text) return line;
  return `${short
    .slice(0, length - 3)
    .join("")
    .trimEnd()}...`;
}

/** What a prompt asks for that a picture of one digit cannot show: a clause for each kind of demand. */
export function unmet(prompt: string): string[] {
  const lower = prompt.normalize("NFC").toLowerCase().replaceAll("’", "'").replaceAll("_", " ");
  const line = lower.split(/\s+/).filter(Boolean).join(" ");
  const text = line.replace(pattern("(?<!\\w)background colou?r(?!\\w)"), "background");
  return [...too_many_digits(text), ...wrong_colours(text), ...negated(text)];
}

function is_explained(word: string): boolean {
  return NUMBER_WORDS.includes(word) || NEGATIONS.includes(word) || others.has(word) || /n['’]t$/.test(word);
}

function too_many_digits(text: string): string[] {
  const words = [...DIGIT_WORDS, ...NUMBER_WORDS].join("|");
  const form = `[0-9]+(?:[.,:/][0-9]+)*(?:'?s(?!\\w))?|${whole(words)}`;
  const named = Array.from(text.matchAll(pattern(form)), (found) => found[0]);
  const digits = new Set(named.map((word) => (DIGIT_WORDS.includes(word) ? `${DIGIT_WORDS.indexOf(word)}` : word)));
  if (digits.size <= 1 && ![...digits].some((number) => number.length > 1)) return [];
  const hint = named.includes("one") ? ' ("one" always means 1)' : "";
  return [`one digit at a time, 0 to 9, not ${listed(named, " and ")}${hint}`];
}

/** Phrases to the inks or backgrounds that they name. */
function named_by(table: Record<string, string[]>): Map<string, string> {
  return new Map(
    Object.entries(table).flatMap(([name, words]) => words.map((word) => [word.replaceAll("-", " "), name])),
  );
}

const inks = named_by(INK_WORDS);
const grounds = named_by(BACKGROUND_WORDS);
const others = new Set(OTHER_COLOURS.filter((colour) => !inks.has(colour) && !grounds.has(colour)));
const phrases = longest_first(distinct([...inks.keys(), ...grounds.keys(), ...others]));
const colours = pattern(whole(phrases.join("|").replaceAll(" ", "[ -]")));

/** What stands before the colour in forms that end with it ("on", "on a light"). */
function heads(forms: string[]): RegExp {
  const words = distinct(forms.filter((form) => form.endsWith(" {}")).map((form) => form.slice(0, -3))).join("|");
  const between = `(?: of)?(?: (?:${ARTICLES.join("|")}))?(?: (?:${SHADES.join("|")}))*[ -]$`;
  return pattern(`(?<!\\w)(?:${words})${between}`, "u");
}

/** What stands behind the colour in the other forms ("paper", "behind it"). */
function tails(forms: string[]): RegExp {
  const words = distinct(forms.filter((form) => form.includes("{} ")).map((form) => form.split("{} ")[1]));
  return pattern(`^[ -](?:${words.sort().join("|")})(?!\\w)`, "u");
}

const says_background = (form: string): boolean => form.includes("background");
const on = heads(BACKGROUND_FORMS.filter((form) => !says_background(form)));
const background = heads(BACKGROUND_FORMS.filter(says_background));
const paper = tails(BACKGROUND_FORMS);
const drawn_in = heads(INK_FORMS);
const ink = tails([...INK_FORMS, ...["[0-9]+", ...DIGIT_WORDS].map((digit) => `{} ${digit}`)]);

/** What a colour is to be, by what stands around it: "background", "beside" such a word, "ink" or "free". */
function role(text: string, start: number, end: number): string {
  const before = text.slice(Math.max(0, start - 60), start);
  const behind = text.slice(end, end + 60);
  if (on.test(before)) return "background";
  if (background.test(before) || paper.test(behind)) return "beside";
  return drawn_in.test(before) || ink.test(behind) ? "ink" : "free";
}

function wrong_colours(text: string): string[] {
  const found = Array.from(text.matchAll(colours), (match) => {
    return [match[0].replaceAll("-", " "), role(text, match.index, match.index + match[0].length)];
  });
  const said = distinct(found.map((pair) => pair.join("|"))).map((pair) => pair.split("|"));
  let behind = said.filter(([c, r]) => r === "background" || (r === "beside" && grounds.has(c)));
  if (!behind.length) behind = said.filter(([, r]) => r === "beside");
  const drawn = said.filter((pair) => !behind.includes(pair));
  const named = distinct(drawn.flatMap(([c]) => inks.get(c) ?? []));
  const no_ink = drawn.filter(([c, r]) => !inks.has(c) && !(r === "free" && named.length && grounds.has(c)));
  const no_ground = behind.filter(([c]) => !grounds.has(c));
  const clauses = [];
  if (no_ink.length) {
    clauses.push(
      `no ${listed(
        no_ink.map(([c]) => c),
        " or ",
      )} ink (inks: ${Object.keys(INK_WORDS).join(", ")})`,
    );
  }
  if (no_ground.length) {
    const there_are = Object.keys(BACKGROUND_WORDS).join(", ");
    clauses.push(
      `no ${listed(
        no_ground.map(([c]) => c),
        " or ",
      )} background (backgrounds: ${there_are})`,
    );
  }
  if (named.length > 1) {
    clauses.push(`one ink at a time, not ${listed(named, " and ")}`);
  } else if (named.length && distinct(behind.map(([c]) => grounds.get(c))).join("|") === named[0]) {
    clauses.push(`${named[0]} ink cannot be seen on a ${named[0]} background`);
  }
  return clauses;
}

function negated(text: string): string[] {
  const sides = Object.keys(SIDE_WORDS).join("|");
  for (const form of longest_first([...UPRIGHT_FORMS])) {
    text = text.replace(pattern(`${whole(form)}(?! (?:to |towards? )?(?:the |its )?(?:${sides}))`), "");
  }
  const found = text.match(pattern(`${whole(NEGATIONS.join("|"))}(?!\\. ?[0-9])|(?<!\\w)\\w+n't(?!\\w)`));
  if (!found) return [];
  return [`"${shorten(found[0])}" is not understood (what to avoid goes into “Avoid”, in the settings)`];
}

const listed = (words: string[], joiner: string): string => shorten(distinct(words).join(joiner));

const naming = [DIGIT_WORDS, ...[INK_WORDS, BACKGROUND_WORDS].map((table) => Object.keys(table)), ["gray", "navy"]];
const names = distinct([...naming.flat(), ...Object.keys(STROKE_WORDS), ...Object.keys(SIDE_WORDS), "upright"]);
const single_names = names.filter((name) => !name.includes(" "));

/** The name that somebody who types `word` may have meant. */
export function near_miss(word: string): string | undefined {
  if (single_names.includes(word) || NO_SLIPS.includes(word)) return undefined;
  return single_names.find((name) => one_slip(word, name));
}

/** A letter too many, too few, another one, or two in the wrong order; not the first, nor a new one at the end. */
function one_slip(typed: string, meant: string): boolean {
  let same = 0;
  while (same < Math.min(typed.length, meant.length) && typed[same] === meant[same]) same++;
  if (same === Math.min(typed.length, meant.length)) {
    return typed === meant.slice(0, -1) || typed === meant + meant.at(-1);
  }
  const [t, m] = [typed.slice(same), meant.slice(same)];
  const swapped = m.length > 1 && t.slice(0, 2) === m[1] + m[0] && t.slice(2) === m.slice(2);
  const one_off = t.slice(1) === m || t.slice(1) === m.slice(1) || t === m.slice(1);
  return swapped || (same > 0 && one_off);
}

/** What the page says of a prompt, and which of its words to underline. */
export interface Remarks {
  clauses: string[];
  words: string[];
}

export function remarks(prompt: string, vocabulary: Vocabulary, about_negative = false): Remarks {
  const words = distinct(words_of(prompt));
  const tokens = new Map<string, Token[]>(words.map((word) => [word, vocabulary.encode(word)]));
  const unknown = words.filter((word) => tokens.get(word)!.every((token) => token.row === 0));
  const unseen = unknown.filter((word) => !is_explained(word));
  const rare = (word: string): boolean => tokens.get(word)!.length > 1;
  const slips = words.filter((word) => near_miss(word) && (SLIPS.includes(word) || rare(word))).slice(0, 5);
  const clauses = about_negative ? [] : unmet(prompt);
  if (unseen.length) clauses.push(`no effect: ${shorten(unseen.join(", "), 200)} (never seen in training)`);
  clauses.push(...slips.map((word) => `did you mean ${near_miss(word)}? (${word} is used as typed)`));
  return { clauses, words: distinct([...unknown, ...slips]) };
}
