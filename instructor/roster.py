"""Who is in the class: ``roster.csv`` with the columns id, name and email, or what a learning platform exports.

A text (a folder, a file's name, a name typed in a notebook) speaks of somebody in the roster if it is that person's
name, id or e-mail address, whatever the case, the accents, the order of the words and what stands between them.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain
from pathlib import Path

from names import clean, words

from tinyldm import UserError

COLUMNS = {
    "id": "id|student id|studentid|id number|student number|org defined id|orgdefinedid|sis user id|sis login id|"
    "sis id|matriculation number|matrikelnummer|matrikel|matriculation|username|user name|login|login id|user|user id|"
    "nummer|numero|netid|github username|identifier",
    "name": "name|full name|fullname|student|student name|display name|vollstandiger name|nombre completo|nom complet",
    "first": "first name|firstname|first|given name|given names|forename|vorname|prenom|nombre",
    "last": "last name|lastname|last|surname|family name|nachname|nom|apellidos|apellido|cognome",
    "email": "email|e mail|mail|email address|e mail address|e mail adresse|emailadresse|correo|courriel",
}
MOST = 10 * 2**20


@dataclass(frozen=True)
class Person:
    """A line of the roster; ``ids`` are all that the line has."""

    ids: tuple[str, ...]
    name: str
    email: str = ""

    @property
    def label(self) -> str:
        return self.name or self.email or self.ids[0]


@dataclass(frozen=True)
class Match:
    """Whom a text may speak of; ``sure`` if it is all of a name, an id or an address, and not only a part."""

    people: frozenset[Person] = frozenset()
    sure: bool = False


@dataclass
class Roster:
    """The people of a class."""

    people: list[Person]
    questions: list[str] = field(default_factory=list)

    def __post_init__(self):
        self._by_word = defaultdict(set)
        for person in self.people:
            for word in chain(_joined(person.name), *_spellings(" ".join((person.name, person.email, *person.ids)))):
                self._by_word[word].add(person)

    def _candidates(self, text: str) -> set[Person]:
        """Those who have a word in common with a text."""
        said = _spellings(text)
        return set().union(*(self._by_word.get(word, ()) for word in chain(*said, map("".join, said))))

    def find(self, text: str) -> Match:
        """The people whom a text may speak of."""
        people = self._candidates(text)
        loosely = {one for one in people if has_name(one, text) or is_part(one, text)}
        if found := {one for one in people if is_id(one, text)}:
            return Match(frozenset(found | loosely), sure=True)  # an id beside another person's name is a question
        tests = (is_name, is_joined_name) if len(words(text)) > 1 else (is_joined_name,)
        for test in tests:
            if found := {one for one in people if test(one, text)}:
                return Match(_exactly(found, text), sure=True)
        return Match(frozenset(loosely))

    def named_in(self, text: str) -> frozenset[Person]:
        """The people all of whose name, of two words or more, stands in a text."""
        return frozenset(one for one in self._candidates(text) if len(words(one.name)) > 1 and has_name(one, text))

    def nearest(self, text: str) -> Person | None:
        """Somebody whose name is spelled much like a text."""
        spelled = {" ".join(sorted(words(person.name))): person for person in self.people}
        close = get_close_matches(" ".join(sorted(words(text))), spelled, n=1, cutoff=0.75)
        return spelled[close[0]] if close else None


def is_id(person: Person, text: str) -> bool:
    """Whether a text is, or has, a person's id or address, or is what stands before the "@"."""
    if person.email and re.search(rf"(?<![\w.+-]){re.escape(person.email)}(?![\w-])", text, re.IGNORECASE):
        return True
    said = words(text)
    for one in (*person.ids, person.email.partition("@")[0]):
        wanted = words(one)
        if wanted and said == wanted:
            return True
        if len(one) >= 4 and re.search(r"\d", one) and _contains(said, wanted):
            return True
    return False


def _contains(said: tuple, wanted: tuple) -> bool:
    return bool(wanted) and any(said[at : at + len(wanted)] == wanted for at in range(len(said)))


def _spellings(text: str) -> list[tuple[str, ...]]:
    return [words(text), words(text, umlauts=True)]


def is_name(person: Person, text: str) -> bool:
    """Whether a text is a person's name, in any order of its words."""
    said = [sorted(one) for one in _spellings(text)]
    return bool(said[0]) and any(sorted(name) in said for name in _spellings(person.name))


def is_joined_name(person: Person, text: str) -> bool:
    """Whether a text is a person's name written together, as in Canvas's "lovelaceada"."""
    return not _joined(person.name).isdisjoint({"".join(one) for one in _spellings(text)})


def _joined(name: str) -> set[str]:
    return {"".join(one[at:] + one[:at]) for one in _spellings(name) for at in range(len(one))}


def has_name(person: Person, text: str) -> bool:
    """Whether a text has all words of a person's name."""
    return any(name and set(name) <= set(said) for name in _spellings(person.name) for said in _spellings(text))


def is_part(person: Person, text: str) -> bool:
    """Whether all words of a text are in a person's name, as in "Ada"."""
    said = [one for one in _spellings(text) if any(len(word) > 1 and not word.isdigit() for word in one)]
    return any(set(one) <= set(name) for one in said for name in _spellings(person.name))


def _exactly(found: set[Person], text: str) -> frozenset[Person]:
    """Of several people, those whose name has the text's accents, if any: programs drop accents, but add none."""
    exact = {one for one in found if _accented(one.name) == _accented(text)}
    return frozenset(exact if exact and not text.isascii() else found)


@lru_cache(2**14)
def _accented(text: str) -> list[str]:
    return sorted(re.findall(r"[^\W_]+", clean(text).casefold()))


# ---------------------------------------------------------------- reading


def read_roster(path: Path) -> Roster:
    """The people in a CSV file, with any of the usual separators, encodings and headers.

    Raises:
        UserError: if it cannot be read, or has none of the columns id, name and email.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path} is not a file; the roster is a CSV file that begins with: id,name,email")
        if path.stat().st_size > MOST:
            raise UserError(f"{path} is larger than {MOST // 2**20} MB; is it the roster?")
        data = path.read_bytes()
        if data.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0", b"%PDF")):  # Excel, new and old
            raise UserError(f"{path} is not a CSV file; open it in a spreadsheet program and save it as CSV")
        text = _text(data)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    lines = [line for line in text.splitlines() if line.strip(" \t;,") and not line.lower().startswith("sep=")]
    if not lines:
        raise UserError(f"{path} is empty; its first line should be: id,name,email")
    separator = max(",;\t|", key=lines[0].count)
    try:
        header, *rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator)
    except csv.Error as error:
        raise UserError(f"{path} is not a table: {error}") from None
    places = _places(header)
    if not places["name"] + places["first"] + places["last"] + places["id"] + places["email"]:
        raise UserError(f"{path} begins with {lines[0][:80]!r}; its first line should name columns: id,name,email")
    return _roster([_person(row, places) for row in rows], path)


def _text(data: bytes) -> str:
    for encoding in (json.detect_encoding(data), "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _places(header: list[str]) -> dict[str, list[int]]:
    titles = [" ".join(words(title)) for title in header]
    return {
        kind: [titles.index(name) for name in names.split("|") if name in titles] for kind, names in COLUMNS.items()
    }


def _person(row: list[str], places: dict[str, list[int]]) -> Person | None:
    cells = {
        kind: [" ".join(clean(row[at]).split()) for at in found if at < len(row)] for kind, found in places.items()
    }
    first, last = (next(filter(None, cells[kind]), "") for kind in ("first", "last"))
    name = f"{first} {last}".strip() or next(filter(None, cells["name"]), "")
    if name.count(",") == 1:  # "Lovelace, Ada"
        name = " ".join(part.strip() for part in reversed(name.split(",")))
    ids = tuple(dict.fromkeys(re.sub(r"(?<=\d)\.0$", "", one.strip("'\"=")) for one in cells["id"] if one))
    email = next(filter(None, cells["email"]), "")
    return Person(ids, name, email) if ids or words(name) or email else None


def _roster(people: list[Person | None], path: Path) -> Roster:
    """The roster without repeated lines; two lines that only look alike are asked about."""
    roster = Roster(list(dict.fromkeys(person for person in people if person)))
    for kind, values in (
        ("id", lambda one: {" ".join(words(value)) for value in one.ids}),
        ("e-mail address", lambda one: {one.email.casefold()} - {""}),
        ("name", lambda one: {" ".join(_accented(one.name))} - {""}),
    ):
        for value in sorted(set().union(*map(values, roster.people))):
            same = [one.label for one in roster.people if value in values(one)]
            if len(same) > 1:
                roster.questions.append(
                    f"{path.name} has {len(same)} lines with the {kind} {value!r} ({', '.join(same)}): are they one "
                    "person? If so, delete one; if not, files are told apart only by what differs."
                )
    return roster
