"""Who a folder's or a file's name speaks of: learning platforms' patterns, and what programs and students add to names.

The patterns are those of Moodle's and Canvas's own code, and of published scripts for the other platforms. What stands
outermost in a path is the platform's; what stands inside a student's folder may be anything.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import yaml

TIME = r"(?P<time>\d{4}-\d\d-\d\d[ T_-]\d\d[-:_.]?\d\d[-:_.]?\d\d)"
PLATFORMS = {
    "Moodle": r"(?P<name>.+?)(?:_(?P<id>\d+))?_assignsubmission_(?:file|onlinetext|[a-z]+)(?:_(?P<rest>.*))?",
    "Canvas": r"(?:(?P<name>.+?)_(?:LATE_)?(?P<id>\d{3,})|(?:LATE_)?anon_(?P<anonymous>\w{5}))_\d{3,}_(?P<rest>.+)",
    "Blackboard": rf"(?P<name>.+?)_attempt_{TIME}(?:_(?P<rest>.*))?",
    "Brightspace": r"(?P<id>\d+)-\d+ ?- ?(?:[A-Z]\d{5,} ?- ?)?(?P<name>.+?) ?- ?"
    r"(?P<date>[^\W\d]{3,9}\.? \d{1,2}, \d{4} \d{3,4} [AP]M)(?: ?- ?(?P<rest>.+))?",
    "nbgrader": rf"(?P<name>[^+]+)\+[^+]+\+{TIME}(?:\.\d+)?(?P<zone> \w+)?(?:\+(?P<rest>.*))?",
    "Gradescope": r"(?P<name>submission_\d{5,})(?P<rest>)",
}
ENDING = re.compile(
    r"(?:\.(?:ipynb|json|txt|zip|rar|7z|tar|gz|tgz|docx?|odt|pdf|html?|py|md|rtf)|[ _]?\(\d+\))$", re.IGNORECASE
)
MOMENT = re.compile(r"\d{4}-?\d\d-?\d\d(?:[ T_-]?\d\d[-:_.]?\d\d(?:[-:_.]?\d\d)?)?Z?(?:-\d{3})?(?!\d)")
COPIES = r"""cop(?:y|ie|ia)(?:[ _]?\(\d+\))?[ _](?:of|de|di|da)|c[óò]pia[ _]de|kopi[ea]?[ _](?:von|van|av|af|z)|
    cop(?:y|ie|ia)[ _]?\d*|c[óò]pia[ _]?\d*|k[oó]pi[ea]?[ _]?\d*|копия"""
WORDS = r"""final\d*|finished|done|drafts?|late|v\d+(?:\.\d+)*|ver\d*|versions?[ _-]?\d*|rev\d+|fixed|updated|edited|
    submissions?[ _-]?\d*|submitted|submit|hand(?:ed)?[ _-]?in|abgaben?[ _-]?\d*|home[ _-]?works?[ _-]?\d*|hw|
    hw[ _-]?\d+|assignments?[ _-]?\d*|exercises?[ _-]?\d*|ex[ _-]?\d+|(?:ü|ue)bung(?:en)?[ _-]?\d*|
    aufgaben?[ _-]?\d*|devoir[ _-]?\d*|tarea[ _-]?\d*|lab[ _-]?\d+|labs?|lessons?[ _-]?\d*|lektion[ _-]?\d*|
    weeks?[ _-]?\d+|woche[ _-]?\d+|session[ _-]?\d+|notebooks?[ _-]?\d*|nb|untitled[ _-]?\d*|unbenannt[ _-]?\d*|
    answers?|solutions?|solved|lösung(?:en)?|completed?|colab|jupyter|ipynb|tinyldm|downloads?|drive-download|course|
    students?|files?|main|master|private"""
MARKS = re.compile(rf"(?<![^\W_])(?:{COPIES}|{WORDS})(?![^\W_])|\(\d+\)", re.IGNORECASE | re.VERBOSE)
COPY_ENDS = re.compile(r"のコピー|的?副本|의 사본")
NUMBERED = re.compile(
    r"(?<![^\W_])(groups?|teams?|students?|participants?|users?|candidates?|gruppen?|groupe|équipe|grupo|pc|id|nr|no)"
    r"[\W_]*(\d+)(?![^\W_])",
    re.IGNORECASE,
)
LETTERS = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "æ": "ae", "œ": "oe", "ı": "i", "þ": "th", "ð": "d"})
UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


@dataclass(frozen=True)
class Mark:
    """What a platform wrote into a name.

    Args:
        platform: "Canvas".
        name: of the person, as far as the platform gives it; "" if it does not.
        identity: text that is the same for the same person on this platform, and for nobody else.
        known_as: what a roster may call the person: the name, a user name, a number that is the same everywhere.
        rest: the file's name as the student gave it.
        time: of handing in.
        order: of several files handed in at the same time.
    """

    platform: str
    name: str
    identity: str
    known_as: tuple[str, ...] = ()
    rest: str = ""
    time: datetime | None = None
    order: int = 0


def clean(text: str) -> str:
    """Composed letters, no invisible ones."""
    text = unicodedata.normalize("NFC", text)
    return "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc", "Cs", "Co", "Cn"))


@lru_cache(2**14)
def words(text: str, umlauts: bool = False) -> tuple[str, ...]:
    """The words of a text without case and accents; with ``umlauts``, "ü" is "ue" instead of "u"."""
    text = clean(text).casefold()
    text = text.translate(UMLAUTS) if umlauts else text
    text = "".join(c for c in unicodedata.normalize("NFKD", text.translate(LETTERS)) if not unicodedata.combining(c))
    return tuple(re.findall(r"[^\W_]+", text))


def marked(part: str, lessons: list[str] | tuple = ()) -> Mark | None:
    """The platform's mark in a part of a path (a folder, a zip or a file without its ending).

    Of several marks, the first in the name counts: behind it stands what the student chose.
    """
    found = {name: re.fullmatch(pattern, clean(part), re.DOTALL) for name, pattern in PLATFORMS.items()}
    ends = {name: len(part) if match["rest"] is None else match.start("rest") for name, match in found.items() if match}
    if not ends:
        return None
    first = min(ends, key=ends.__getitem__)
    return _mark(first, found[first].groupdict(default=""), lessons)


def _mark(platform: str, parts: dict[str, str], lessons: list[str] | tuple) -> Mark:
    name, identifier, rest = parts["name"].replace("_", " ").strip(), parts.get("id", ""), parts["rest"]
    identity = " ".join(filter(None, (name or parts.get("anonymous", ""), identifier)))
    if platform == "Moodle":  # draws new numbers for each assignment
        return Mark(platform, name, identity, (name,), rest)
    if platform == "Canvas":
        return Mark(platform, name, identity, (name, identifier), rest, order=_order(rest))
    if platform == "Blackboard":  # the assignment's name stands before the user's, which may have a "_", too
        user, ends = leftover(parts["name"], lessons) or name, parts["name"].split("_")
        known_as = tuple("_".join(ends[number:]) for number in range(len(ends)))
        return Mark(platform, user, user, known_as, rest, _time(parts["time"]))
    if platform == "Brightspace":
        return Mark(platform, name, identity, (name, identifier), rest, _english_time(parts["date"]))
    if platform == "nbgrader":
        zone = UTC if parts["zone"].strip() in ("UTC", "GMT", "") else None
        return Mark(platform, parts["name"], parts["name"], (parts["name"],), rest, _time(parts["time"], zone))
    return Mark(platform, "", name)


def read_submitters(data: bytes) -> dict[str, Mark]:
    """Who handed in each "submission 123456", from the ``submission_metadata.yml`` of a Gradescope export."""
    try:
        found = yaml.safe_load(data)
        return {name.replace("_", " "): _submitter(name, said) for name, said in found.items() if said[":submitters"]}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, AttributeError, TypeError, KeyError, ValueError):
        return {}


def _submitter(submission: str, said: dict) -> Mark:
    people, time = said[":submitters"], said.get(":created_at")
    name = " and ".join(str(one.get(":name", "")) for one in people)
    known_as = tuple(str(one.get(key) or "") for one in people for key in (":name", ":sid", ":email"))
    known = time.astimezone() if isinstance(time, datetime) else None
    return Mark("Gradescope", name, submission.replace("_", " "), known_as, time=known)


def _order(rest: str) -> int:
    """Canvas adds "-1", "-2" to the name of a file that is handed in again."""
    found = re.search(r"-(\d{1,3})(?:\.\w+)*$", rest)
    return int(found[1]) if found else 0


def _time(text: str, zone=None) -> datetime | None:
    digits = re.sub(r"\D", "", text)
    try:
        time = datetime.strptime(digits, "%Y%m%d%H%M%S")
        return time.replace(tzinfo=zone) if zone else time.astimezone()
    except (ValueError, OverflowError):
        return None


def _english_time(text: str) -> datetime | None:
    """ "Jan 2, 2024 1011 AM", in any locale of this computer."""
    month, day, year, clock, half = re.split(r"[\s,.]+", text)
    try:
        number = MONTHS.index(month[:3].lower()) + 1
        hour = int(clock[:-2]) % 12 + 12 * (half.upper() == "PM")
        return datetime(int(year), number, int(day), hour, int(clock[-2:])).astimezone()
    except (ValueError, OverflowError):
        return None


def without_ending(name: str) -> str:
    """A file's name without ".ipynb", ".ipynb.txt", " (1)" and the like."""
    while (shorter := ENDING.sub("", name)) not in (name, ""):
        name = shorter
    return name


def lesson_pattern(lesson: str, titled_only: bool = False) -> re.Pattern:
    """How a name may speak of a lesson: "02_forward_diffusion", "forward diffusion"; also "Lesson 2", "L02", "02"."""
    number, *title = lesson.split("_")
    spaced = r"[\W_]*".join(map(re.escape, title))
    spoken = rf"(?:lessons?[\W_]*|lektion[\W_]*|le[cç]on[\W_]*|lecci[oó]n[\W_]*|l)0*{int(number)}"
    forms = [rf"(?:{spoken}|0*{int(number)})[\W_]*{spaced}"]
    forms += [spaced] * (len(title) > 1)  # a single word may be somebody's name
    forms += [spoken, number] * (not titled_only)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(forms)})(?![^\W_])", re.IGNORECASE)


def lessons_in(text: str, lessons: list[str]) -> list[str]:
    """The lessons that a name speaks of; only those with their titles, if there are any."""
    text = _prepared(text)
    titled = [lesson for lesson in lessons if lesson_pattern(lesson, titled_only=True).search(text)]
    return titled or [lesson for lesson in lessons if lesson_pattern(lesson).search(text)]


def leftover(text: str, lessons: list[str] | tuple = (), lesson: str | None = None) -> str:
    """What a name says besides lessons, and besides what programs and students add: perhaps who it is; "" if nothing.

    A number alone is part of it unless it is that of the ``lesson`` that the file holds: "seat 03" may be somebody.
    """
    text = _prepared(text)
    for one in lessons:
        text = lesson_pattern(one, titled_only=one != lesson).sub(" ", text)
    text = re.sub(r"['’]s(?![^\W_])", " ", MARKS.sub(" ", text))
    text = re.sub(r"[\s_]+", " ", text)
    text = re.sub(r"(?:(?<=\s)|^)[^\w@]+(?=\s|$)", " ", text)
    text = " ".join(text.split()).strip(" -_.,;:+&#~!'=()[]{}")
    return text if re.search(r"[^\W\d_]|\d{3}", text) else ""


def _prepared(text: str) -> str:
    """Without dates and with "student 02" as one word, since its number is no lesson's."""
    text = COPY_ENDS.sub(" ", MOMENT.sub(" ", clean(text)))
    return NUMBERED.sub(r"\1\2", text)
