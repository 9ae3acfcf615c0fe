"""Every file of a class finds its student or is asked about; nobody is merged, and nothing handed in does harm."""

import csv
import io
import json
import os
import re
import stat
import struct
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from collect import collect, student_id
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from names import leftover, lessons_in, marked
from opened import opened
from roster import read_roster
from unpack import Limits

from tinyldm import UserError

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
NAMES = [path.stem for path in LESSONS]
SECOND = NAMES[2]
PEOPLE = """id,name,email
s1001,Ada Lovelace,ada.lovelace@uni.example
s1002,Ada Byron,ab@uni.example
s1003,Max Müller,mmueller@uni.example
s1004,Max Muller,mmuller@uni.example
s1005,Jean-Luc Picard,jlp@uni.example
s1006,Mary O'Brien,maryob@uni.example
s1007,李小龍,brucelee@uni.example
s1008,Søren Kierkegaard,sk@uni.example
s1009,Anna Lee,alee@uni.example
s1010,Ann Alee,aalee@uni.example
s1011,Łukasz Żółć,lzol@uni.example
s1012,José María García López,jmgl@uni.example
s1013,Theo Final,tfinal@uni.example
s1014,Zoë Strauß,zoes@uni.example
s1015,Nguyen Van An,nva@uni.example
s1016,Ивана Петрова,ivana@uni.example
s1017,Karl von Frisch,kvf@uni.example
s1018,Mohammed Al-Fayed,maf@uni.example
s1019,Grace Hopper,gh@uni.example
s1020,Bob Kahn,bob@uni.example
s1021,Jane Doe,j_doe@uni.example
s1022,John Doe,jdoe@uni.example
"""
MOODLE = """
Ada Lovelace_1234567_assignsubmission_file_/02_forward_diffusion.ipynb                          s1001
Ada Byron_1234568_assignsubmission_file_/02_forward_diffusion.ipynb                             s1002
Max Müller_1234569_assignsubmission_file_/02_forward_diffusion (1).ipynb                        s1003
Max Muller_1234570_assignsubmission_file_/02_forward_diffusion.ipynb                            ?
Jean-Luc Picard_1234571_assignsubmission_file_/engage.ipynb                                     s1005
Mary O'Brien_1234572_assignsubmission_file_/Copy of 02_forward_diffusion.ipynb                  s1006
李小龍_1234573_assignsubmission_file_/02_forward_diffusion.ipynb                                s1007
Søren Kierkegaard_1234574_assignsubmission_file_/Kopi af 02_forward_diffusion.ipynb             s1008
Anna Lee_1234575_assignsubmission_file_/homework.ipynb                                          s1009
Ann Alee_1234576_assignsubmission_file_/homework.ipynb                                          s1010
Łukasz Żółć_1234577_assignsubmission_file_/02_forward_diffusion-Copy1.ipynb                     s1011
José María García López_1234578_assignsubmission_file_/02.ipynb                                 s1012
Theo Final_1234579_assignsubmission_file_/final.ipynb                                           s1013
Zoë Strauß_1234580_assignsubmission_file_/abgabe.zip/02_forward_diffusion.ipynb                 s1014
Nguyen Van An_1234581_assignsubmission_file_/a/b/c/02_forward_diffusion.ipynb                   s1015
Ивана Петрова_1234582_assignsubmission_file_/02_forward_diffusion.ipynb                         s1016
Karl von Frisch_1234583_assignsubmission_file_02_forward_diffusion.ipynb                        s1017
Mohammed Al-Fayed_1234584_assignsubmission_file_02_forward_diffusion (2).ipynb                  s1018
Grace Hopper_1234585_assignsubmission_file_Ada Lovelace.ipynb                                   s1019
TINY101-Diffusion-4711.zip/Bob Kahn_1234586_assignsubmission_file_/02_forward_diffusion.ipynb   s1020
Jane Doe_1234587_assignsubmission_file_/02_forward_diffusion.ipynb.txt                          s1021
Doe John_1234588_assignsubmission_file_/02_forward_diffusion.IPYNB                              s1022
Participant_1234589_assignsubmission_file_/02_forward_diffusion.ipynb                           ?
Group A_17_assignsubmission_file_/02_forward_diffusion.ipynb                                    ?
Eve Nobody_1234590_assignsubmission_file_/Ada Lovelace 02_forward_diffusion.ipynb               ?
Ada_1234591_assignsubmission_file_/02_forward_diffusion.ipynb                                   ?
Doe_1234592_assignsubmission_file_/02_forward_diffusion.ipynb                                   ?
"""
CANVAS = """
lovelaceada_12301_678901_02_forward_diffusion.ipynb               s1001
lovelaceada_12301_678902_02_forward_diffusion-1.ipynb             s1001
byronada_LATE_12302_678903_02_forward_diffusion-2.ipynb           s1002
müllermax_12303_678904_02_forward_diffusion.ipynb                 ?
muellermax_12304_678905_02_forward_diffusion.ipynb                s1003
picardjeanluc_12305_678906_02_forward_diffusion.ipynb             s1005
obrienmary_LATE_12306_678907_Copy of 02_forward_diffusion.ipynb   s1006
李小龍_12307_678908_02_forward_diffusion.ipynb                    s1007
kierkegaardsøren_12308_678909_02_forward_diffusion.ipynb          s1008
leeanna_12309_678910_homework.ipynb                               s1009
aleeann_12310_678911_homework-3.ipynb                             s1010
żółćłukasz_12311_678912_02_forward_diffusion.ipynb                s1011
garcíalópezjosémaría_12312_678913_02_forward_diffusion.ipynb      s1012
finaltheo_12313_678914_final.ipynb                                s1013
straußzoë_12314_678915_02_forward_diffusion (1).ipynb             s1014
annguyenvan_12315_678916_02_forward_diffusion.ipynb               s1015
петроваивана_12316_678917_02_forward_diffusion.ipynb              s1016
vonfrischkarl_12317_678918_02_forward_diffusion.ipynb             s1017
alfayedmohammed_12318_678919_02_forward_diffusion.ipynb           s1018
hoppergrace_12319_678920_lovelaceada_12301_678921_02.ipynb        s1019
kahnbob_12320_678922_work.zip/ada/02_forward_diffusion.ipynb      s1020
doejane_12321_678923_1234_5678_02_forward_diffusion.ipynb         s1021
doejohn_12322_678924_02_forward_diffusion.ipynb.json              s1022
annalee_12323_678925_02_forward_diffusion.ipynb                   ?
anon_AbC12_678926_02_forward_diffusion.ipynb                      ?
LATE_anon_xYz99_678927_02_forward_diffusion.ipynb                 ?
nobodyeve_12399_678928_Ada Lovelace 02_forward_diffusion.ipynb    ?
doe_12398_678929_02_forward_diffusion.ipynb                       ?
"""
BLACKBOARD = """
Assignment_s1001_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb          s1001
Assignment_s1001_attempt_2024-01-03-10-11-12_02_forward_diffusion.ipynb          s1001
Lesson 02_ab_attempt_2024-01-02-10-11-12_hw.ipynb                                s1002
Homework 2_mmueller_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb       s1003
Homework 2_mmuller_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb        s1004
Noise it all_jlp_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb          s1005
Noise_it_all_maryob_attempt_2024-01-02-10-11-12_Kopie von 02.ipynb               s1006
02_forward_diffusion_brucelee_attempt_2024-01-02-10-11-12_x.ipynb                s1007
Aufgabe 2_sk_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb              s1008
Aufgabe 2_alee_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb            ?
Aufgabe 2_aalee_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb           s1010
Week 3_lzol_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb               s1011
Week 3_jmgl_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb               s1012
Week 3_tfinal_attempt_2024-01-02-10-11-12_final.ipynb                            s1013
Week 3_zoes_attempt_2024-01-02-10-11-12_work.zip/Ada Lovelace/02.ipynb           s1014
Week 3_nva_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb                s1015
Week 3_ivana_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb              s1016
Week 3_kvf_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb                s1017
Week 3_maf_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb                s1018
Week 3_gh_attempt_2024-01-02-10-11-12_Assignment_ab_attempt_2024-01-02-10-11-12_x.ipynb  s1019
Week 3_bob_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb                s1020
Week 3_j_doe_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb              s1021
Week 3_jdoe_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb               s1022
Week 3_k_doe_attempt_2024-01-02-10-11-12_02_forward_diffusion.ipynb              ?
Week 3_eve_attempt_2024-01-02-10-11-12_Ada Lovelace 02_forward_diffusion.ipynb   ?
"""
BRIGHTSPACE = """
12301-555 - Ada Lovelace - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb            s1001
12301-555 - Ada Lovelace - Jan 3, 2024 1011 PM - 02_forward_diffusion.ipynb            s1001
12302-555 - Ada Byron- Jan 2, 2024 905 AM - 02_forward_diffusion.ipynb                 s1002
12303-555 - Max Müller - Feb 29, 2024 1201 PM - 02_forward_diffusion (1).ipynb         s1003
12305-555 - Jean-Luc Picard - Jan 2, 2024 1011 AM/engage.ipynb                         s1005
12306-555 - Mary O'Brien - Jan 2, 2024 1011 AM/Copie de 02_forward_diffusion.ipynb     s1006
12307-555 - 李小龍 - Jan 2, 2024 1011 AM/02_forward_diffusion.ipynb                    s1007
12308-555 - N0123456 - Søren Kierkegaard- Jan 2, 2024 1011 AM - 02.ipynb               s1008
12309-555 - Anna Lee - Jan 2, 2024 1011 AM - hw - final.ipynb                          s1009
12310-555 - Ann Alee - Jan 2, 2024 1011 AM - hw - final.ipynb                          s1010
12311-555 - Łukasz Żółć - sty 2, 2024 1011 AM - 02_forward_diffusion.ipynb             s1011
12312-555 - José María García López - Jan 2, 2024 1011 AM - 02.ipynb                   s1012
12313-555 - Theo Final - Jan 2, 2024 1011 AM - final.ipynb                             s1013
12314-555 - Zoë Strauß - Jan 2, 2024 1011 AM - w.zip/Ada Byron/02_forward_diffusion.ipynb  s1014
12315-555 - Nguyen Van An - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb           s1015
12316-555 - Ивана Петрова - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb           s1016
12317-555 - Karl von Frisch - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb         s1017
12318-555 - Mohammed Al-Fayed - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb       s1018
12319-555 - Grace Hopper - Jan 2, 2024 1011 AM - Ada Lovelace.ipynb                    s1019
12320-555 - Bob Kahn - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb                s1020
12321-555 - Doe, Jane - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb               s1021
12322-555 - John Doe - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb                s1022
12399-555 - Eve Nobody - Jan 2, 2024 1011 AM - Ada Lovelace 02.ipynb                   ?
12398-555 - Max Muller - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb              ?
12397-555 - Doe - Jan 2, 2024 1011 AM - 02_forward_diffusion.ipynb                     ?
"""
CLASSROOM = """
02-forward-diffusion-s1001/02_forward_diffusion.ipynb                               s1001
02-forward-diffusion-submissions/02-forward-diffusion-ab/02_forward_diffusion.ipynb s1002
02-forward-diffusion-mmueller/02_forward_diffusion.ipynb                            s1003
02-forward-diffusion-mmuller/02_forward_diffusion.ipynb                             s1004
lesson-2-jlp/02_forward_diffusion.ipynb                                             s1005
homework-2-maryob/notebooks/exercises/02_forward_diffusion.ipynb                    s1006
hw2-brucelee/02_forward_diffusion.ipynb                                             s1007
assignment-2-sk/02_forward_diffusion.ipynb                                          s1008
assignment-2-alee/02_forward_diffusion.ipynb                                        ?
assignment-2-aalee/02_forward_diffusion.ipynb                                       s1010
forward-diffusion-lzol/02_forward_diffusion.ipynb                                   s1011
02-forward-diffusion-jmgl-main.zip/02-forward-diffusion-jmgl-main/02_forward_diffusion.ipynb s1012
02-forward-diffusion-tfinal/02_forward_diffusion.ipynb                              s1013
02-forward-diffusion-zoes/02_forward_diffusion.ipynb                                s1014
02-forward-diffusion-nva-main/02_forward_diffusion.ipynb                            s1015
02-forward-diffusion-ivana/02_forward_diffusion.ipynb                               s1016
02-forward-diffusion-kvf/02_forward_diffusion.ipynb                                 s1017
02-forward-diffusion-maf/02_forward_diffusion.ipynb                                 s1018
02-forward-diffusion-gh/02_forward_diffusion.ipynb                                  s1019
02-forward-diffusion-bob/02_forward_diffusion.ipynb                                 s1020
02-forward-diffusion-j_doe/02_forward_diffusion.ipynb                               s1021
02-forward-diffusion-jdoe/02_forward_diffusion.ipynb                                s1022
02-forward-diffusion-team-rocket/02_forward_diffusion.ipynb                         ?
02-forward-diffusion-octocat/02_forward_diffusion.ipynb                             ?
"""
DRIVE = """
Ada Lovelace - 02_forward_diffusion.ipynb                          s1001
Kopie von Ada Byron - 02_forward_diffusion.ipynb                   s1002
Copy of Max Müller - 02_forward_diffusion.ipynb                    s1003
Copia de 02_forward_diffusion - mmuller.ipynb                      s1004
Copie de Jean-Luc Picard 02_forward_diffusion.ipynb                s1005
Cópia de 02_forward_diffusion_Mary_OBrien.ipynb                    s1006
02_forward_diffusionのコピー 李小龍.ipynb                          s1007
Kopi av 02_forward_diffusion Søren Kierkegaard.ipynb               s1008
Anna Lee - 02_forward_diffusion (1).ipynb                          s1009
Ann Alee - 02_forward_diffusion (1).ipynb                          s1010
Kopia Łukasz Żółć 02_forward_diffusion.ipynb                       s1011
Copia di José María García López - 02_forward_diffusion.ipynb      s1012
Theo Final - 02_forward_diffusion.ipynb                            s1013
Kopie von Kopie von Zoë Strauß - 02_forward_diffusion.ipynb        s1014
Nguyen Van An - 02_forward_diffusion - Copy.ipynb                  s1015
Ивана Петрова - 02_forward_diffusion.ipynb                         s1016
Karl von Frisch - 02_forward_diffusion - Kopie (2).ipynb           s1017
mohammed_al-fayed_02_forward_diffusion.ipynb                       s1018
Copy of Copy of HOPPER, Grace - Lesson 2.ipynb                     s1019
drive-download-20240102T101112Z-001/Bob Kahn - 02_forward_diffusion.ipynb  s1020
Jane Doe's 02_forward_diffusion.ipynb                              s1021
02_forward_diffusion copy 2 (John Doe).ipynb                       s1022
drive-download-20240102T101112Z-001/02_forward_diffusion.ipynb     ?
Copy of 02_forward_diffusion.ipynb                                 ?
Untitled12.ipynb                                                   ?
Max Muller - 02_forward_diffusion.ipynb                            ?
Doe - 02_forward_diffusion.ipynb                                   ?
"""
PLAIN = """
ada_lovelace_02_final_v2.ipynb                   s1001
BYRON Ada/homework.ipynb                         s1002
Müller Max/02_forward_diffusion.ipynb            s1003
s1004/submission.ipynb                           s1004
S1005_02_forward_diffusion.ipynb                 s1005
week 2/O'Brien, Mary/02_forward_diffusion.ipynb  s1006
02_forward_diffusion/李小龍/nb.ipynb             s1007
Soren Kierkegaard.ipynb                          s1008
anna.lee/02.ipynb                                s1009
ann.alee/02.ipynb                                s1010
LukaszZolc_02.ipynb                              s1011
jmgl@uni.example/Untitled.ipynb                  s1012
theo_final_02_final.ipynb                        s1013
Zoe Strauss 02 forward-diffusion.ipynb           s1014
an_nguyen_van-02.ipynb                           s1015
Петрова Ивана 02.ipynb                           s1016
02-vonFrisch-Karl.ipynb                          s1017
Al-Fayed_Mohammed_L02.ipynb                      s1018
submitted/s1019/02_forward_diffusion/02_forward_diffusion.ipynb  s1019
bob+02_forward_diffusion+2024-01-02 10:11:12 UTC+Zm9v/02_forward_diffusion.ipynb  s1020
jane-doe.zip/02_forward_diffusion.ipynb          s1021
(John Doe) Übung 2.ipynb                         s1022
Ada 02.ipynb                                     ?
Muller.ipynb                                     ?
Doe/02_forward_diffusion.ipynb                   ?
02_forward_diffusion.ipynb                       ?
02_forward_diffusion (1).ipynb                   ?
homework.ipynb                                   ?
Ada Lovelace and Ada Byron 02.ipynb              ?
s1001 Jane Doe 02.ipynb                          ?
Charles Babbage 02.ipynb                         ?
Max Mueller/02_forward_diffusion.ipynb           s1003
02_S1007.ipynb                                   s1007
kierkegaard soeren - lesson 02.ipynb             s1008
HW2 Lee Anna.ipynb                               s1009
zolc_lukasz_hw2_v3.ipynb                         s1011
group 3/jose maria garcia lopez/x.ipynb          s1012
2024-01-02 Theo Final forward diffusion.ipynb    s1013
S T R A U S S.ipynb                              ?
Max/02_forward_diffusion.ipynb                   ?
seat 02.ipynb                                    ?
student_02/02_forward_diffusion.ipynb            ?
student_03/02_forward_diffusion.ipynb            ?
submission_99999999/02_forward_diffusion.ipynb   ?
"""
PLATFORMS = {
    "Moodle": MOODLE, "Canvas": CANVAS, "Blackboard": BLACKBOARD, "Brightspace": BRIGHTSPACE,
    "GitHub Classroom": CLASSROOM, "Google Drive": DRIVE, "by hand": PLAIN,
}  # fmt: skip


def table(text: str) -> dict[str, str]:
    rows = [re.fullmatch(r"(.*?)\s+(\S+)", line) for line in text.strip().splitlines()]
    return {row[1]: row[2] for row in rows}


def notebook(lesson: str | None = "02", name: str | None = None, body: str = "x = 1") -> bytes:
    first = (f"# Lesson {lesson}: something\n\nA promise." if lesson else "Hello") + f"\n\n{name or ''}"
    cells = [nbformat.v4.new_markdown_cell(first, id="a"), nbformat.v4.new_code_cell(body, id="b")]
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode()


def zipped(files: dict[str, bytes], times: dict | None = None) -> bytes:
    """A zip of files; what lies under "x.zip/" is in a zip of its own."""
    inner, buffer = {}, io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            if found := re.match(r"(.*?\.zip)/(.*)", path):
                inner.setdefault(found[1], {})[found[2]] = data
            else:
                archive.writestr(entry(path, **(times or {}).get(path, {})), data)
        for path, some in inner.items():
            archive.writestr(entry(path), zipped(some))
    return buffer.getvalue()


def entry(name: str, time=(2024, 1, 2, 10, 0, 0), mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, time)
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    return info


@pytest.fixture
def roster(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_text(PEOPLE, "utf-8")
    return path


@pytest.fixture
def hand_in(tmp_path, monkeypatch):
    """Zip some files and collect them; paths come back without the zip's name."""

    def of(files: dict[str, bytes], roster: Path | None = None, times: dict | None = None, **limits):
        place = tmp_path / "in.zip"
        place.write_bytes(zipped(files, times))
        return without_zip(collect(place, roster, Limits(**limits)))

    return of


def without_zip(collected):
    for one in collected.submissions:
        assert one.path.startswith("in.zip/")
        one.path = one.path.removeprefix("in.zip/")
    return collected


# ---------------------------------------------------------------- names


def test_the_tables_have_two_hundred_names():
    rows = [path for text in PLATFORMS.values() for path in table(text)]
    assert len(rows) == len(set(rows)) >= 200


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_name_of_a_class_finds_its_student_or_is_asked_about(platform, hand_in, roster):
    expected = table(PLATFORMS[platform])
    collected = hand_in({path: notebook(body=path) for path in expected}, roster)
    assert not collected.refused and {one.path for one in collected.submissions} == set(expected)
    for one in collected.submissions:
        wanted = expected[one.path]
        if wanted == "?":
            assert not one.student.id.startswith("s10"), (one.path, one.student)
            assert any(one.path in question for question in collected.questions), one.path
        else:
            assert one.student.id == wanted, (one.path, one.student, collected.questions)
        assert one.lesson == SECOND
    strangers = [one.student.id for one in collected.submissions if expected[one.path] == "?"]
    assert len(strangers) == len(set(strangers)), "nobody who is asked about is merged"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_name_is_matched_the_same_when_it_comes_alone(platform, hand_in, roster):
    for path, wanted in table(PLATFORMS[platform]).items():
        (one,) = hand_in({path: notebook()}, roster).submissions
        assert one.student.id == wanted or (wanted == "?" and not one.student.id.startswith("s10")), path


VOCABULARY = [
    "Ada",
    "ada",
    "Lovelace",
    "Lee",
    "Ann",
    "Anna",
    "Alee",
    "LeeAnn",
    "Müller",
    "Muller",
    "Mueller",
    "MÜLLER",
    "O'Brien",
]
VOCABULARY += [
    "Final",
    "Copy",
    "of",
    "Kopie",
    "von",
    "02",
    "2",
    "v2",
    "late",
    "Student",
    "Group",
    "forward",
    "diffusion",
]
VOCABULARY += [
    "李",
    "小龍",
    "Ж",
    "ß",
    "ss",
    "ı",
    "-",
    "de",
    "Copy1",
    "s1",
    "1234567",
    "attempt",
    "LATE",
    "submission",
    "homework",
]
PATTERNS = (
    lambda name, number: f"{name}/{SECOND}.ipynb",
    lambda name, number: f"{name}_{SECOND}.ipynb",
    lambda name, number: f"Copy of {name} 02 (1).ipynb",
    lambda name, number: f"class/{SECOND} {name}-Copy1.ipynb",
    lambda name, number: f"{name}_{number}_assignsubmission_file_/x.ipynb",
    lambda name, number: f"{''.join(filter(str.isalnum, name)).lower() or 'x'}_{number}_{number}99_x.ipynb",
    lambda name, number: f"{number}-77 - {name} - Jan 2, 2024 1011 AM - x.ipynb",
    lambda name, number: f"HW_{name}_attempt_2024-01-02-10-11-12_x.ipynb",
)
people_names = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=3).map(" ".join)
slowly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@slowly
@given(
    st.lists(st.tuples(people_names, st.lists(st.sampled_from(PATTERNS), max_size=3)), min_size=2, max_size=5),
    st.booleans(),
)
def test_no_two_people_of_a_roster_are_ever_merged(hand_in, tmp_path, people, typed):
    roster = tmp_path / "roster.csv"
    with roster.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "name"), *((f"p{n}xyz", name) for n, (name, _) in enumerate(people))])
    owners = {}
    for number, (name, patterns) in enumerate(people):
        for pattern in patterns:
            owners.setdefault(pattern(name, 500 + number), set()).add(number)
    assume(all(len(some) == 1 for some in owners.values()))
    files = {path: notebook(name=f"Name: {people[min(who)][0]}" if typed else None) for path, who in owners.items()}
    students = {}
    for one in hand_in(files, roster).submissions:
        (owner,) = owners[one.path]
        assert not re.fullmatch(r"p\dxyz", one.student.id) or one.student.id == f"p{owner}xyz", one.path
        students.setdefault(one.student.id, set()).add(owner)
    assert all(len(some) == 1 for some in students.values()), students


JUNK = ("desktop.ini", "thumbs.db", "__macosx")
part = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\\\0"), min_size=1, max_size=12)
paths = st.lists(part, min_size=1, max_size=3).map("/".join)


@slowly
@given(st.lists(st.tuples(paths, st.sampled_from(["", ".ipynb", ".zip", ".docx"])), max_size=6, unique=True))
def test_every_file_is_listed_once(hand_in, found):
    names = ["".join(name) for name in found]
    assume(not any(piece.startswith(".") or piece.lower() in JUNK for n in names for piece in n.split("/")))
    assume(not any(re.search(r"\.zip/", name) or re.match("[A-Za-z]:", name) for name in names))
    collected = hand_in({name: notebook(body=name) for name in names})
    shown = ["".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in name) for name in names]
    assert sorted(one.path for one in collected.submissions) == sorted(shown) and not collected.refused
    graded = [(one.student.id, one.lesson) for one in collected.submissions if not one.reason]
    assert len(graded) == len(set(graded)), "one notebook of a lesson for each student"
    for one in collected.submissions:
        if "a newer one" in one.reason:
            (newer,) = [other for other in collected.submissions if one.reason.endswith(f"a newer one, {other.path}")]
            assert not newer.reason and newer.student == one.student


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["folder", "file", "typed", "Moodle"]))
def test_an_id_is_safe_and_belongs_to_one_person_only(one, other, kind):
    found = [student_id(kind, text, text) for text in (one, other)]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and len(name) <= 60 for name in found)
    assert (found[0].lower() == found[1].lower()) == (one == other)
    assert student_id("file", one, one) != student_id("folder", one, one)


def test_ids_that_only_a_file_system_would_merge_differ():
    alike = [
        "Müller",
        "Muller",
        "MÜLLER",
        "muller",
        "Mu\u0308ller",
        "müller",
        "con",
        "nul",
        "muller.",
        ".muller",
        "李小龍",
        "李小龙",
    ]
    alike += ["ß", "ss", "SS", student_id("file", "muller", "muller")]
    assert len({student_id("folder", name, name).lower() for name in alike}) == len(alike)
    assert student_id("folder", "s1234567", "s1234567") == "s1234567"
    assert student_id("folder", "con", "con") != "con" and student_id("folder", "ada", "ada", {"ada"}) != "ada"


# ---------------------------------------------------------------- without a roster


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("ada/02_forward_diffusion.ipynb", "ada"),
        ("Copy of Ada Lovelace - 02_forward_diffusion (1).ipynb", "Ada Lovelace"),
        ("Ada Lovelace_1_assignsubmission_file_/hw.ipynb", "Ada Lovelace"),
        ("lovelaceada_LATE_12345_678910_02_forward_diffusion-2.ipynb", "lovelaceada"),
        ("Assignment_jdoe_attempt_2024-01-02-10-11-12_file.ipynb", "jdoe"),
        ("12345-67890 - Ada Lovelace - Jan 2, 2024 1011 AM - file.ipynb", "Ada Lovelace"),
        ("02-forward-diffusion-adal/02_forward_diffusion.ipynb", "adal"),
        ("ada+02_forward_diffusion+2024-01-02 10:11:12 UTC+Zm9v/02_forward_diffusion.ipynb", "ada"),
        ("submitted/ada/02_forward_diffusion/02_forward_diffusion.ipynb", "ada"),
        ("ada.zip/02_forward_diffusion.ipynb", "ada"),
        ("class/Bob 02.ipynb", "Bob (class)"),
        ("bob_v2_final.ipynb", "bob"),
        ("müller-02_forward_diffusion.ipynb", "müller"),
    ],
)
def test_without_a_roster_the_folder_decides_then_the_name(hand_in, path, name):
    collected = hand_in({path: notebook()})
    assert (collected.submissions[0].student.name, collected.questions) == (name, [])


def test_what_may_be_one_person_or_two_is_two_and_asked_about(hand_in):
    files = ["ada/02.ipynb", "Ada.ipynb", "ADA 02.ipynb", "Ada Lovelace_7_assignsubmission_file_/02.ipynb"]
    files += ["Ada Lovelace_8_assignsubmission_file_/02.ipynb", "class/Ada 02.ipynb", "class/Bob 02.ipynb"]
    collected = hand_in({path: notebook() for path in files})
    assert len({one.student.id for one in collected.submissions}) == len(files) == 7
    assert not any(one.reason for one in collected.submissions)
    for path in files[:-1]:
        assert any(path in question and "two students" in question for question in collected.questions), path
    assert not any("Bob" in question for question in collected.questions)


def test_same_named_files_of_two_folders_are_two_students(hand_in):
    collected = hand_in({f"{name}/homework.ipynb": notebook() for name in ("ada", "bob")})
    assert [one.student.id for one in collected.submissions] == ["ada", "bob"] and not collected.questions


def test_a_folder_of_a_whole_class_is_not_one_student(hand_in):
    collected = hand_in({f"handed/02_forward_diffusion ({n}).ipynb": notebook() for n in range(25)})
    assert len({one.student.id for one in collected.submissions}) == 25 == len(collected.questions)
    collected = hand_in({f"handed/0{n}.ipynb": notebook(name=f"Name: {'AB'[n]}") for n in range(2)})
    assert len({one.student.id for one in collected.submissions}) == 2 == len(collected.questions)


def test_numbered_seats_are_not_lessons(hand_in):
    files = [f"{name}_{number:02}.ipynb" for name in ("seat", "student") for number in range(10)]
    collected = hand_in({path: notebook() for path in files})
    assert len({one.student.id for one in collected.submissions}) == 20
    assert {one.lesson for one in collected.submissions} == {SECOND} and not any(
        o.reason for o in collected.submissions
    )


@pytest.mark.parametrize(
    ("part", "platform", "name"),
    [
        ("eve_111_2222_Ada Lovelace_5_assignsubmission_file_02", "Canvas", "eve"),
        ("HW_eve_attempt_2024-01-02-10-11-12_lovelaceada_12345_67890_02", "Blackboard", "eve"),
        ("Eve_5_assignsubmission_file_lovelaceada_12345_67890_02", "Moodle", "Eve"),
        ("Eve_5_assignsubmission_file_HW_ada_attempt_2024-01-02-10-11-12_x", "Moodle", "Eve"),
        ("1-2 - Eve - Jan 2, 2024 1011 AM - Ada_5_assignsubmission_file_x", "Brightspace", "Eve"),
        ("eve_111_2222_ada+02+2024-01-02 10:11:12 UTC", "Canvas", "eve"),
    ],
)
def test_a_student_cannot_forge_the_platforms_mark(part, platform, name):
    found = marked(part)
    assert (found.platform, found.name) == (platform, name)


def test_an_id_does_not_depend_on_what_else_is_handed_in(hand_in):
    files = [
        "ada/02.ipynb",
        "Ada.ipynb",
        "02_forward_diffusion.ipynb",
        "zoë_02.ipynb",
        "Ada_7_assignsubmission_file_/x.ipynb",
    ]
    together = {one.path: one.student for one in hand_in({path: notebook() for path in files}).submissions}
    for path in files:
        assert hand_in({path: notebook()}).submissions[0].student == together[path]


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("Handing this in? Your name: Ada Lovelace", "Ada Lovelace"),
        ("Handing this in? Your name:\n\nAda Lovelace", "Ada Lovelace"),
        ("Handing this in? Your name: **Ada Lovelace**", "Ada Lovelace"),
        ("Handing this in? Your name: <u>Ada Lovelace</u> \\", "Ada Lovelace"),
        ("**Name**: _Ada Lovelace_", "Ada Lovelace"),
        ("Nom : Ada Lovelace", "Ada Lovelace"),
        ("Ada Lovelace", "Ada Lovelace"),
        ("Handing this in? Your name: ........", ""),
        ("Handing this in? Your name:", ""),
        ("Handing this in? Your name: ____", ""),
        ("", ""),
    ],
)
def test_a_name_typed_in_the_first_cell_is_read_however_it_is_typed(hand_in, roster, cell, name):
    collected = hand_in({"02.ipynb": notebook(name=cell)}, roster)
    assert collected.submissions[0].student.id.startswith("s1001" if name else "in-zip-02-ipynb-")
    collected = hand_in({"02.ipynb": notebook(name=cell)})
    assert (collected.submissions[0].student.name == name) == bool(name)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
@pytest.mark.parametrize("seed", [None, "autumn"])
def test_a_release_is_known_by_what_is_written_in_it(hand_in, path, seed):
    from release import release
    from variant import fingerprint

    import tinyldm

    released = release(nbformat.read(path, as_version=4), path.stem, seed)
    (one,) = hand_in({"homework.ipynb": nbformat.writes(released).encode()}).submissions
    assert (one.lesson, one.reason, one.notes) == (path.stem, "", [])
    assert (one.release.lesson, one.release.version) == (path.stem[:2], tinyldm.__version__)
    assert one.release.variant == (fingerprint("autumn") if seed else "")
    assert one.student.name == "in.zip/homework.ipynb", "nobody typed a name"
    for mine, theirs in zip(one.notebook.cells, released.cells, strict=True):
        assert (mine.source, mine.metadata.get("nbgrader")) == (theirs.source, theirs.metadata.get("nbgrader"))


# ---------------------------------------------------------------- which lesson


@pytest.mark.parametrize(
    ("path", "content", "lesson", "note"),
    [
        ("ada/02-forward-diffusion.ipynb", None, "02", ""),
        ("ada/forward diffusion.ipynb", None, "02", ""),
        ("ada/Lesson 2.ipynb", None, "02", ""),
        ("ada/lesson_02 (3).ipynb", None, "02", ""),
        ("ada/L2.ipynb", None, "02", ""),
        ("ada/02.ipynb", None, "02", ""),
        ("02_forward_diffusion/ada/hw.ipynb", None, "02", ""),
        ("ada/hw.ipynb", "07", "07", ""),
        (
            "ada/02_forward_diffusion.ipynb",
            "03",
            "03",
            "its name says 02_forward_diffusion, but it is 03_noise_predictor",
        ),
        ("ada/diffusion.ipynb", None, None, ""),
        ("ada 2024-02-03/x.ipynb", None, None, ""),
        ("ada/student_02.ipynb", None, None, ""),
        ("ada/06_latent_diffusion 05.ipynb", None, "06", ""),
    ],
)
def test_the_lesson_is_told_by_content_then_by_names(hand_in, path, content, lesson, note):
    (one,) = hand_in({path: notebook(lesson=content)}).submissions
    assert (one.lesson or "")[:2] == (lesson or "") and ", ".join(one.notes) == note
    assert (one.reason != "") == (lesson is None)


def test_all_lessons_are_known_by_their_names():
    for name in NAMES:
        assert lessons_in(name, NAMES) == lessons_in(name.replace("_", "-").title(), NAMES) == [name]
        assert lessons_in(f"Ada_{name}", NAMES) == [name] and leftover(f"Ada_{name}", NAMES) == "Ada"


# ---------------------------------------------------------------- the newest


def newest(collected) -> str:
    (path,) = [one.path for one in collected.submissions if not one.reason]
    return path


def test_the_newest_of_a_zip_counts_wherever_it_stands(hand_in):
    times = {"ada/a 02.ipynb".replace("a 0", "0"): {"time": (2024, 3, 1, 0, 0, 0)}}
    times |= {"ada/02 (1).ipynb": {"time": (2024, 1, 1, 0, 0, 0)}, "ada/02 (2).ipynb": {"time": (2024, 2, 1, 0, 0, 0)}}
    collected = hand_in({path: notebook(body=path) for path in times}, times=times)
    assert newest(collected) == "ada/02.ipynb"
    assert collected.submissions[0].time == datetime(2024, 1, 1).astimezone()
    assert all("newer one, in.zip/ada/02.ipynb" in one.reason for one in collected.submissions if one.reason)


@pytest.mark.parametrize(
    "paths",
    [  # the last one is the newest
        ["doeann_123_4567_02-1.ipynb", "doeann_123_4569_02-10.ipynb", "doeann_123_4568_02-11.ipynb"],
        [f"HW_jdoe_attempt_2024-0{n}-02-10-11-12_02.ipynb" for n in (1, 2, 3)],
        ["1-2 - Ada - Jan 2, 2024 900 AM - 02.ipynb", "1-2 - Ada - Jan 2, 2024 1201 PM - 02.ipynb"],
        ["ada+02+2024-01-02 10:11:12 UTC/02.ipynb", "ada+02+2024-01-02 10:11:13 UTC/02.ipynb"],
        ["Ada 02.ipynb", "Ada 02 (1).ipynb", "Ada 02 (2).ipynb", "Ada 02 (10).ipynb"],
    ],
)
def test_platforms_say_which_is_the_newest(hand_in, paths):
    for order in (paths, paths[::-1]):
        collected = hand_in({path: notebook(body=path) for path in order})
        assert newest(collected) == paths[-1]
    if paths[0].startswith("Ada"):
        (chosen,) = [one for one in collected.submissions if not one.reason]
        assert "nothing says that it is newer" in chosen.notes[0]


def test_an_older_one_counts_if_the_newest_cannot_be_read(hand_in):
    times = {"ada/02.ipynb": {"time": (2024, 1, 1, 0, 0, 0)}, "ada/02 new.ipynb": {"time": (2024, 3, 1, 0, 0, 0)}}
    collected = hand_in({"ada/02.ipynb": notebook(), "ada/02 (1).ipynb": b"%PDF"}, times=times)
    assert newest(collected) == "ada/02.ipynb"
    assert collected.submissions[1].notes == ["a newer one, in.zip/ada/02 (1).ipynb, cannot be read"]


def test_a_zip_within_a_zip_has_the_time_of_handing_it_in(tmp_path):
    inner = zipped({"02.ipynb": notebook()}, {"02.ipynb": {"time": (2019, 1, 1, 0, 0, 0)}})
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "moodle.zip").write_bytes(
        zipped({"Ada_77_assignsubmission_file_/w.zip": inner}, {"Ada_77_assignsubmission_file_/w.zip": {}})
    )
    (one,) = collect(tmp_path / "all").submissions
    assert one.path == "moodle.zip/Ada_77_assignsubmission_file_/w.zip/02.ipynb"
    assert one.time == datetime(2024, 1, 2, 10).astimezone()


def test_a_time_in_utc_in_a_zip_is_read_and_1980_means_nothing(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        with_utc = entry("ada/02.ipynb")
        with_utc.extra = struct.pack("<HHBl", 0x5455, 5, 1, 1_700_000_000)
        archive.writestr(with_utc, notebook())
        archive.writestr(entry("bob/02.ipynb", time=(1980, 1, 1, 0, 0, 0)), notebook())
    (tmp_path / "in.zip").write_bytes(buffer.getvalue())
    ada, bob = collect(tmp_path / "in.zip").submissions
    assert ada.time == datetime.fromtimestamp(1_700_000_000, UTC) and bob.time is None


# ---------------------------------------------------------------- rosters


def people_of(data: bytes, tmp_path) -> list[tuple]:
    path = tmp_path / "r.csv"
    path.write_bytes(data)
    return [(person.ids, person.name, person.email) for person in read_roster(path).people]


ADA = (("7001",), "Ada Lovelace", "ada@x.org")


@pytest.mark.parametrize(
    "text",
    [
        "id,name,email\n7001,Ada Lovelace,ada@x.org\n",
        "Name;E-Mail;ID\r\nAda Lovelace;ada@x.org;7001\r\n",
        "sep=;\nID;Name;Email\n7001;Ada Lovelace;ada@x.org",
        "EMAIL ADDRESS\tID number\tSurname\tFirst name\nada@x.org\t7001\tLovelace\tAda\n",
        '"First name","Last name","ID number","Email address"\n"Ada","Lovelace","7001","ada@x.org"\n',
        'id,name,email\n7001.0,"Lovelace, Ada",ada@x.org\n\n,,\n',
        "Nachname;Vorname;Matrikelnummer;E-Mail-Adresse\nLovelace;Ada;7001;ada@x.org",
        "id,name,email\n7001,Ada Lovelace,ada@x.org\n7001,Ada Lovelace,ada@x.org\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_rosters_of_many_programs_are_read(tmp_path, text, encoding):
    assert people_of(text.encode(encoding), tmp_path) == [ADA]


def test_a_roster_from_excel_keeps_its_letters(tmp_path):
    assert people_of("id;name\n1;Zoë Müller\n".encode("cp1252"), tmp_path)[0][1] == "Zoë Müller"


@pytest.mark.parametrize("data", [zipped({"x": b"1"}), b"\xd0\xcf\x11\xe0\xa1\xb1", b"%PDF-1.7"])
def test_a_roster_that_is_a_spreadsheet_is_to_be_saved_as_csv(tmp_path, data):
    with pytest.raises(UserError, match="save it as CSV"):
        people_of(data, tmp_path)


def test_canvas_numbers_tell_two_students_of_one_name_apart(tmp_path):
    (tmp_path / "roster.csv").write_text('Student,ID,SIS User ID\n"Lee, Tim",5021,s21\n"Lee, Tim",5022,s22\n')
    (tmp_path / "in").mkdir()
    for number in ("LATE_5021_880021", "5022_880022", "5023_880023"):
        (tmp_path / "in" / f"leetim_{number}_{SECOND}.ipynb").write_bytes(notebook(SECOND))
    collected = collect(tmp_path / "in", tmp_path / "roster.csv")
    found = {one.path: (one.student.id, one.notes) for one in collected.submissions}
    assert found[f"leetim_LATE_5021_880021_{SECOND}.ipynb"] == ("5021", ["Canvas says that it came late"])
    assert found[f"leetim_5022_880022_{SECOND}.ipynb"] == ("5022", [])
    assert found[f"leetim_5023_880023_{SECOND}.ipynb"][0] not in ("5021", "5022")
    asked = next(one for one in collected.questions if "5023" in one)
    assert "Tim Lee (5021) (s21) or Tim Lee (5022) (s22)" in asked


@pytest.mark.parametrize(
    ("names", "asked"),
    [(("part1", "part2"), True), (("", " (1)"), False), (("_final", "_v2"), False), (("-Copy1", ""), False)],
)
def test_two_parts_of_a_lesson_handed_in_together_are_asked_about(tmp_path, names, asked):
    with zipfile.ZipFile(tmp_path / "moodle.zip", "w") as archive:
        for number, name in enumerate(names):
            path = f"Kurt Gödel_77_assignsubmission_file/{SECOND}{name}.ipynb"
            archive.writestr(zipfile.ZipInfo(path, (2026, 12, 1, 12, 0, 0)), notebook(SECOND, body=f"x = {number}"))
    questions = collect(tmp_path / "moodle.zip").questions
    assert [("parts of one" in one) for one in questions] == [True] * asked


def test_a_canvas_gradebook_is_a_roster(tmp_path):
    text = 'Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"Lovelace, Ada",12301,7001,adal,A\n'
    assert (("12301", "7001", "adal"), "Ada Lovelace", "") in people_of(text.encode(), tmp_path)


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"Ada\nBob\n", b"a,b\n1,2\n", b"\x89PNG\r\n\x1a\n\0\0", bytes(range(256))]
)
def test_what_is_no_roster_is_said(tmp_path, data):
    with pytest.raises(UserError, match="id,name,email"):
        people_of(data, tmp_path)


def test_two_lines_that_look_alike_are_asked_about(hand_in, tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("id,name,email\n1,Ada L,a@x.org\n1,Bob B,b@x.org\n2,L. Ada,c@x.org\n")
    files = {"Ada L/02.ipynb": notebook(), "Bob B/02.ipynb": notebook(), "1/02.ipynb": notebook()}
    collected = hand_in(files, path)
    assert len({one.student.id for one in collected.submissions}) == 3
    assert sum("r.csv has 2 lines" in question for question in collected.questions) == 2


def test_one_person_under_two_accounts_is_asked_about(hand_in, roster):
    paths = ["lovelaceada_301_4001_02.ipynb", "lovelaceada_302_4002_03_noise_predictor.ipynb"]
    paths += [f"Grace Hopper_{n}_assignsubmission_file_/02.ipynb" for n in (1, 2)]
    collected = hand_in({path: notebook(lesson=None) for path in paths}, roster)
    assert len({one.student.id for one in collected.submissions}) == 4
    assert all(any(path in question for question in collected.questions) for path in paths)


def test_moodle_numbers_a_person_anew_in_each_assignment(hand_in, roster):
    paths = [f"Grace Hopper_{n}_assignsubmission_file_/0{n}.ipynb" for n in (2, 3)]
    collected = hand_in({path: notebook(lesson=None) for path in paths}, roster)
    assert {one.student.id for one in collected.submissions} == {"s1019"} and not collected.questions


def test_a_part_of_a_name_is_not_merged_with_the_whole(hand_in, roster):
    collected = hand_in({"Grace Hopper/02.ipynb": notebook(), "Grace 02.ipynb": notebook()}, roster)
    assert [one.student.id == "s1019" for one in collected.submissions] == [False, True]
    collected = hand_in({"Grace 02.ipynb": notebook()}, roster)
    assert collected.submissions[0].student.id == "s1019" and "was taken to mean Grace Hopper" in collected.questions[0]


@pytest.mark.parametrize(
    "paths",
    [
        ["Grace 02.ipynb", "Hopper 02.ipynb"],  # two parts of one name
        ["Grace/Karl von Frisch 02.ipynb", "Grace/x.ipynb"],  # a part of a name against a whole one
        ["class/02.ipynb", "class/03_noise_predictor.ipynb"],  # a folder that the roster does not know
        ["Eve 02.ipynb", "Eve 02 (1).ipynb"],
        ["student_02_forward_diffusion.ipynb", "Copy of Student 02.ipynb"],
    ],
)
def test_with_a_roster_nothing_doubtful_is_put_together(hand_in, roster, paths):
    collected = hand_in({path: notebook(lesson=None) for path in paths}, roster)
    found = {one.path: one.student.id for one in collected.submissions}
    assert len(set(found.values())) == 2 and not found[paths[0]].startswith("s10")
    assert all(any(path in question for question in collected.questions) for path in paths)


@pytest.mark.parametrize(
    ("people", "path", "owner"),
    [
        ("doe,Jane Roe\nj_doe,John Poe", "HW_j_doe_attempt_2024-01-02-10-11-12_x.ipynb", "j_doe"),
        ("doe,Jane Roe\nj_doe,John Poe", "HW_doe_attempt_2024-01-02-10-11-12_x.ipynb", "doe"),
        ("1,Adalovelace\n2,Ada Lovelace", "adalovelace 02.ipynb", ""),
        ("1,Adalovelace\n2,Ada Lovelace", "Ada Lovelace 02.ipynb", "2"),
        ("7001,Ada L\n7001,Bob B", "Bob B/02.ipynb", ""),  # one id for two: neither gets it
        ("7001,Ada L\n7002,Bob B", "7001 Bob B/02.ipynb", ""),
        ("7001,Ada L\n7002,Bob B", "7001/02.ipynb", "7001"),
        ("con,Ada L\n../x,Bob B", "Ada L/02.ipynb", ""),  # not the name of a folder
        ("con,Ada L\n../x,Bob B", "Bob B/02.ipynb", ""),
        ("12,Ada L\n13,Bob B", "13 02.ipynb", ""),
        ("1,Ada L\n12,Bob B", "Ada L 12 02.ipynb", "1"),  # short numbers may be anything
        (",Max Müller\n,Max Muller", "Max Müller 02.ipynb", None),
    ],
)
def test_small_rosters(hand_in, tmp_path, people, path, owner):
    (tmp_path / "r.csv").write_text(f"id,name\n{people}\n", "utf-8")
    (one,) = hand_in({path: notebook(lesson="02")}, tmp_path / "r.csv").submissions
    if owner is None:
        assert one.student.name == "Max Müller"
    else:
        assert one.student.id == owner or (not owner and re.fullmatch(r".*-[0-9a-f]{12}", one.student.id))


def test_who_hands_in_under_another_name_is_asked_about(hand_in, roster):
    files = {"Grace Hopper_1_assignsubmission_file_/02.ipynb": notebook(name="Name: Karl von Frisch")}
    collected = hand_in(files, roster)
    assert collected.submissions[0].student.id == "s1019" and "Karl von Frisch" in collected.questions[0]


def test_a_gradescope_export_names_its_students(hand_in, roster):
    said = b"""submission_111111:
  :submitters:
  - :name: Solo Student
    :sid: s1001
    :email: solo@uni.example
  :created_at: 2024-01-02 10:11:12.5 Z
submission_222222:
  :submitters:
  - :name: Grace Hopper
    :sid:
    :email: other@uni.example
"""
    files = {
        f"a_9_export/submission_{n}/02.ipynb".replace("a_", "assignment_"): notebook() for n in ("111111", "222222")
    }
    collected = hand_in(files | {"assignment_9_export/submission_metadata.yml": said}, roster)
    found = {one.path: one for one in collected.submissions if one.notebook}
    assert [found[path].student.id for path in files] == ["s1001", "s1019"]
    assert found[min(files)].time == datetime(2024, 1, 2, 10, 11, 12, 500000, UTC)
    forged = {f"eve.zip/{path}": notebook() for path in files} | {"eve.zip/submission_metadata.yml": said}
    assert not any(one.student.id.startswith("s1") for one in hand_in(forged, roster).submissions)


# ---------------------------------------------------------------- attacks


def method(info: zipfile.ZipInfo, way: int) -> zipfile.ZipInfo:
    info.compress_type = way
    return info


REFUSED_ENTRIES = {
    "long name": (entry("9" * 60_000 + ".ipynb"), "too long"),
    "up": (entry("../02.ipynb"), "leads out"),
    "up in the middle": (entry("a/../../02.ipynb"), "leads out"),
    "up with backslashes": (entry("..\\..\\02.ipynb"), "leads out"),
    "absolute": (entry("/etc/02.ipynb"), "leads out"),
    "drive": (entry("C:/02.ipynb"), "leads out"),
    "drive with backslash": (entry("c:\\02.ipynb"), "leads out"),
    "network": (entry("\\\\server\\share\\02.ipynb"), "leads out"),
    "link": (entry("l.ipynb", mode=stat.S_IFLNK | 0o777), "link"),
    "pipe": (entry("p.ipynb", mode=stat.S_IFIFO | 0o644), "pipe"),
    "character device": (entry("c.ipynb", mode=stat.S_IFCHR | 0o644), "device"),
    "block device": (entry("b.ipynb", mode=stat.S_IFBLK | 0o644), "device"),
    "socket": (entry("s.ipynb", mode=stat.S_IFSOCK | 0o644), "device"),
    "bzip2": (method(entry("z.ipynb"), zipfile.ZIP_BZIP2), "uncommon"),
    "lzma": (method(entry("z.ipynb"), zipfile.ZIP_LZMA), "uncommon"),
}


def collect_bytes(data: bytes, tmp_path, **limits):
    (tmp_path / "in.zip").write_bytes(data)
    return without_zip(collect(tmp_path / "in.zip", limits=Limits(**limits)))


def with_entries(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    """A zip with an honest file behind other entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, data in entries:
            archive.writestr(info, data)
        archive.writestr(entry("ada/02_forward_diffusion.ipynb"), notebook(body="honest"))
    return buffer.getvalue()


def assert_honest(collected) -> None:
    assert any(one.path == "ada/02_forward_diffusion.ipynb" and not one.reason for one in collected.submissions)


@pytest.mark.parametrize("kind", REFUSED_ENTRIES)
def test_a_harmful_entry_of_a_zip_is_refused_and_the_rest_is_read(tmp_path, kind):
    info, reason = REFUSED_ENTRIES[kind]
    collected = collect_bytes(with_entries((info, notebook())), tmp_path)
    assert_honest(collected)
    assert len(collected.submissions) == 1 == len(collected.refused) and reason in collected.refused[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.zip"]


def changed(data: bytes, name: bytes, central: int, local: int, new: bytes) -> bytes:
    """A zip with bytes changed in the two headers of the entry with a name."""
    data = bytearray(data)
    at = data.index(name) - 30
    if local >= 0:
        data[at + local : at + local + len(new)] = new
    at = data.rindex(name) - 46
    data[at + central : at + central + len(new)] = new
    return bytes(data)


BROKEN = {  # offsets in the directory and in front of the data, and what is written there
    "encrypted": (8, 6, b"\x01\x00", "encrypted"),
    "wrong checksum": (16, 14, b"\0\0\0\0", "damaged"),
    "other name in front of the data": (46, -1, b"evil_02.ipynb", "damaged"),
    "size too small": (24, 22, struct.pack("<L", 5), "damaged"),
    "size too large": (24, 22, struct.pack("<L", 2**31), "larger than"),
    "packed size too large": (20, 18, struct.pack("<L", 2**30), ""),
    "data elsewhere": (42, -1, struct.pack("<L", 2**30), "damaged"),
    "unknown method": (10, 8, b"\x63\x00", "uncommon"),
    "impossible date": (12, 10, b"\xff\xff\xff\xff", ""),
    "date zero": (12, 10, b"\0\0\0\0", ""),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_damaged_entry_is_refused_and_the_rest_is_read(tmp_path, kind):
    central, local, new, reason = BROKEN[kind]
    data = changed(with_entries((entry("good_02.ipynb"), notebook())), b"good_02.ipynb", central, local, new)
    collected = collect_bytes(data, tmp_path)
    assert_honest(collected)
    assert [reason in line for line in collected.refused] == ([True] if reason else []), collected.refused
    assert len(collected.submissions) + len(collected.refused) == 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_zip_with_any_byte_changed_is_read_as_far_as_it_goes(tmp_path, data):
    good = bytearray(
        with_entries((entry("bob/03.ipynb"), notebook("03")), (entry("eve.zip"), zipped({"04.ipynb": b"{}"})))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "in.zip").write_bytes(good)
    collected = collect(tmp_path / "in.zip")
    assert collected.submissions or collected.refused


@pytest.mark.parametrize("cut", [0.2, 0.6, 0.95])
def test_a_zip_whose_upload_broke_off_is_named(tmp_path, cut):
    data = with_entries(("bob/02.ipynb", os.urandom(3000)))
    (tmp_path / "in.zip").write_bytes(data[: int(len(data) * cut)])
    collected = collect(tmp_path / "in.zip")
    assert "zip" in "".join(collected.refused + [one.reason for one in collected.submissions])


def test_files_of_one_name_in_a_zip_are_all_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        data = with_entries(("bob/02.ipynb", notebook(body="1")), ("bob/02.ipynb", notebook(body="2")))
    collected = collect_bytes(data, tmp_path)
    assert_honest(collected)
    assert (
        len(collected.submissions) == 1
        and [line.split(":")[1] for line in collected.refused] == [" the zip has 2 files of this name"] * 2
    )


def test_a_bomb_costs_its_limit_and_no_more(tmp_path):
    bomb = entry("bomb.ipynb"), bytes(40 * 2**20)
    collected = collect_bytes(with_entries(bomb), tmp_path)
    assert_honest(collected)
    assert "larger than 25 MB" in collected.refused[0]
    lie = changed(with_entries(bomb), b"bomb.ipynb", 24, 22, struct.pack("<L", 1000))
    assert "bomb.ipynb" in collect_bytes(lie, tmp_path).refused[0]
    full = zipped({f"{m}.ipynb": bytes(2**20) for m in range(4)})
    collected = collect_bytes(with_entries(*[(f"{n}.zip", full) for n in range(4)]), tmp_path, unpacked=6 * 2**20)
    assert len(collected.submissions) == 5 and all("more than 6 MB in all" in line for line in collected.refused)


def test_zips_in_zips_are_opened_to_a_depth(tmp_path):
    data = zipped({"02.ipynb": notebook()})
    for level in range(6):
        data = zipped({f"{level}.zip": data})
    (tmp_path / "in.zip").write_bytes(data)
    collected = collect(tmp_path / "in.zip")
    assert not collected.submissions and "inside 4 others" in collected.refused[0]
    (one,) = collect(tmp_path / "in.zip", limits=Limits(depth=7)).submissions
    assert one.path == "in.zip/5.zip/4.zip/3.zip/2.zip/1.zip/0.zip/02.ipynb"


def test_too_many_files_are_not_opened(tmp_path):
    collected = collect_bytes(with_entries(*[(f"{n}.ipynb", b"{}") for n in range(30)]), tmp_path, files=10)
    assert len(collected.submissions) == 10 and len(collected.refused) == 1 and "more than 10" in collected.refused[0]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Zoë".encode("latin-1"), "Zoë"),
        ("Zoë".encode("cp437"), "Zoë"),
        ("Zoë".encode(), "Zoë"),
        ("Ångström".encode("cp1252"), "Ångström"),
        ("Müller".encode("cp437"), "Müller"),
        (b"Ada\\x", "Ada"),
    ],
)
@pytest.mark.parametrize("flag", [False, True])
def test_names_in_other_encodings_are_read(tmp_path, raw, name, flag):
    plain = b"N" * len(raw) + b"/02.ipynb"
    data = with_entries((entry(plain.decode()), notebook())).replace(plain, raw + b"/02.ipynb")
    if flag:  # the zip promises UTF-8
        data = changed(data, raw + b"/02.ipynb", 9, 7, b"\x08")
    collected = collect_bytes(data, tmp_path)
    assert_honest(collected)
    assert name in [one.student.name.partition("/")[0] for one in collected.submissions]


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x1b[31m", "\u202egnp.ipynb", "a\u200bda", "x" * 900, "🧨" * 80, "=cmd|x", "con", "a\tb"]
)
def test_odd_names_do_no_harm(hand_in, name):
    collected = hand_in({f"{name}/02.ipynb": notebook()})
    (one,) = collected.submissions
    assert (
        one.path.isprintable()
        and one.student.name.isprintable()
        and re.fullmatch(r"[\w.-]{1,60}", one.student.id, re.A)
    )
    assert one.student.id.lower() not in ("con", "nul")


def test_on_the_disk_links_pipes_and_giants_are_named(tmp_path):
    folder = tmp_path / "in"
    (folder / "ada").mkdir(parents=True)
    (folder / "ada" / "02.ipynb").write_bytes(notebook())
    (folder / "secret.ipynb").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.ipynb").symlink_to("missing")
    os.mkfifo(folder / "pipe.ipynb")
    with (folder / "giant.ipynb").open("wb") as file:
        file.truncate(3 * 2**30)
    deep = folder
    for _ in range(300):
        deep /= "deep"
    deep.mkdir(parents=True)
    (deep / "03.ipynb").write_bytes(notebook("03"))
    (Path(os.fsdecode(os.fsencode(folder) + b"/m\xfcller 02.ipynb"))).write_bytes(notebook())
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints/02.ipynb", "__MACOSX/._02.ipynb"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(notebook())
    collected = collect(folder)
    assert {line.split(":")[0] for line in collected.refused} == {
        "secret.ipynb", "loop", "nowhere.ipynb", "pipe.ipynb", "giant.ipynb"
    }  # fmt: skip
    assert {one.student.name[:6] for one in collected.submissions} == {"ada", "müller", "deep/d"}
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_a_single_file_and_nothing_at_all(tmp_path):
    (tmp_path / "Ada 02.ipynb").write_bytes(notebook())
    (one,) = collect(tmp_path / "Ada 02.ipynb").submissions
    assert (one.path, one.student.name, one.lesson) == ("Ada 02.ipynb", "Ada", SECOND)
    with pytest.raises(UserError, match="nothing at"):
        collect(tmp_path / "missing.zip")
    (tmp_path / "empty").mkdir()
    assert collect(tmp_path / "empty").submissions == []


# ---------------------------------------------------------------- strange files

V3 = nbformat.v3.new_notebook(worksheets=[nbformat.v3.new_worksheet(cells=[
    nbformat.v3.new_heading_cell("Lesson 02: old"), nbformat.v3.new_code_cell("x = 1", prompt_number=1)])])  # fmt: skip
V2 = nbformat.v2.new_notebook(worksheets=[nbformat.v2.new_worksheet(cells=[
    nbformat.v2.new_text_cell("markdown", "# Lesson 02: older"), nbformat.v2.new_code_cell("x = 1")])])  # fmt: skip
UMLAUT = notebook(body="x = 1  # für").decode()


def raw(**rest) -> bytes:
    """A notebook with something wrong in it."""
    return json.dumps(json.loads(notebook()) | rest).encode()


def cell(**rest) -> bytes:
    good = {"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": [], "execution_count": None, "id": "b"}
    return raw(cells=[*json.loads(notebook())["cells"][:1], good | rest])


OPENED = {  # file name, bytes, a word of the notes
    "as it is": ("a.ipynb", notebook(), ""),
    "byte order mark": ("a.ipynb", b"\xef\xbb\xbf" + notebook(), ""),
    "UTF-16": ("a.ipynb", UMLAUT.encode("utf-16"), "read as UTF-16"),
    "UTF-16, no mark": ("a.ipynb", UMLAUT.encode("utf-16-be"), "read as UTF-16"),
    "UTF-32": ("a.ipynb", UMLAUT.encode("utf-32"), "read as UTF-32"),
    "Latin-1": ("a.ipynb", UMLAUT.encode("latin-1"), "Windows-1252"),
    ".ipynb.txt": ("a.ipynb.txt", notebook(), "ends with .txt"),
    ".ipynb.json": ("a.ipynb.json", notebook(), "ends with .json"),
    ".IPYNB": ("a.IPYNB", notebook(), ""),
    ".txt": ("a.txt", notebook(), "ends with .txt"),
    "no ending": ("a", notebook(), "no ending"),
    "format 3": ("a.ipynb", json.dumps(V3).encode(), "notebook format 3"),
    "format 3 as programs write it": ("a.ipynb", nbformat.v3.nbjson.writes(V3).encode(), "notebook format 3"),
    "format 2": ("a.ipynb", json.dumps(V2).encode(), "notebook format 2"),
    "garbage behind": ("a.ipynb", notebook() + b"}}\nlog", "behind the notebook's end"),
    "zeros behind": ("a.ipynb", notebook() + bytes(99), ""),
    "format in words": ("a.ipynb", raw(nbformat="4"), ""),
    "format of the future": ("a.ipynb", raw(nbformat=99), ""),
    "no metadata": ("a.ipynb", raw(metadata=None), "metadata"),
    "metadata is a list": ("a.ipynb", raw(metadata=[1]), "metadata"),
    "kernelspec is a word": ("a.ipynb", raw(metadata={"kernelspec": "python3"}), "kernelspec"),
    "mark is a list": ("a.ipynb", raw(metadata={"tinyldm": [1]}), "tinyldm"),
    "authors is a number": ("a.ipynb", raw(metadata={"authors": 7}), ""),
    "extra at the top": ("a.ipynb", raw(evil={"a": 1}), ""),
    "cell metadata is a list": ("a.ipynb", cell(metadata=["x"]), "metadata is of the wrong type"),
    "nbgrader is a list": ("a.ipynb", cell(metadata={"nbgrader": [1]}), "nbgrader"),
    "grade_id is a dict": ("a.ipynb", cell(metadata={"nbgrader": {"grade_id": {}}}), "nbgrader"),
    "tags is a number": ("a.ipynb", cell(metadata={"tags": 5}), ""),
    "source is a list": ("a.ipynb", cell(source=["x = ", "1"]), ""),
    "source is a list of lists": ("a.ipynb", cell(source=[["x = "], ["1"]]), ""),
    "no outputs": ("a.ipynb", cell(outputs=None), ""),
    "outputs of numbers": ("a.ipynb", cell(outputs=[1, "a"]), ""),
    "output of no kind": ("a.ipynb", cell(outputs=[{"output_type": "boom"}]), ""),
    "count is a word": ("a.ipynb", cell(execution_count="many"), ""),
    "unknown kind of cell": ("a.ipynb", cell(cell_type="quantum"), "unknown kind"),
    "cell is a number": ("a.ipynb", raw(cells=[*json.loads(notebook())["cells"], 7]), "not a cell"),
    "all ids the same": ("a.ipynb", cell(id="a"), ""),
    "id is a number": ("a.ipynb", cell(id=5), ""),
    "id of odd letters": ("a.ipynb", cell(id="../é"), ""),
    "half a character": ("a.ipynb", notebook().replace(b"x = 1", b"x = 1 #\\ud800"), ""),
    "not a number": ("a.ipynb", notebook().replace(b'"nbformat_minor": 5', b'"nbformat_minor": NaN'), ""),
    "conflict in a string": ("a.ipynb", cell(source="x = 1\n<<<<<<< HEAD\n"), ""),
}


@pytest.mark.parametrize("kind", OPENED)
def test_a_notebook_is_opened_whatever_happened_to_it(kind):
    name, data, note = OPENED[kind]
    found = opened(data, name)
    assert not found.reason and note in "; ".join(found.notes) and bool(found.notes) == bool(note), found
    nbformat.validate(found.notebook)
    assert nbformat.reads(nbformat.writes(found.notebook).encode().decode(), as_version=4) == found.notebook
    assert opened(data, name).notebook == found.notebook, "its new ids are not random"
    assert [one.source.partition("#")[0].strip().partition("\n")[0] for one in found.notebook.cells[1:2]] == ["x = 1"]
    assert found.notebook.cells[0].source.startswith("# Lesson 02: ")
    for one in found.notebook.cells:
        assert isinstance(one.metadata.get("nbgrader", {}).get("grade_id", ""), str)


def test_special_letters_survive(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1"):
        assert "für" in opened(UMLAUT.encode(encoding), "a.ipynb").notebook.cells[1].source


NOT_OPENED = {
    "empty": ("a.ipynb", b"", "the file is empty"),
    "white": ("a.ipynb", b" \n", "only zeros"),
    "zeros": ("a.ipynb", bytes(999), "only zeros"),
    "PDF": ("a.ipynb", b"%PDF-1.4 ...", "a PDF"),
    "picture": ("a.ipynb", b"\x89PNG\r\n\x1a\n....", "a picture"),
    "web page": ("a.ipynb", b"\n<!DOCTYPE html>\n<html><title>Google Colab</title>", "a web page"),
    "login page": ("a.ipynb", b"<!-- x --><html lang=en><h1>Sign in</h1>", "a web page"),
    "conflict": ("a.ipynb", notebook().replace(b'"cells"', b'\n<<<<<<< HEAD\n"cells"'), "a Git conflict"),
    "cut": ("a.ipynb", notebook()[:200], "ends in the middle"),
    "typo": ("a.ipynb", notebook().replace(b'"cells":', b'"cells"'), "damaged in line"),
    "text": ("a.ipynb", b"import torch\n", "not a notebook's"),
    "RTF": ("a.ipynb", b"{\\rtf1\\ansi{}}", "RTF"),
    "Git LFS": ("a.ipynb", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "zip": ("a.ipynb", zipped({"x": b"1"}), "a zip archive"),
    "damaged zip": ("a.zip", b"PK\x03\x04......", "a zip archive"),
    "RAR": ("a.rar", b"Rar!\x1a\x07", "RAR archive"),
    "7-Zip": ("a.7z", b"7z\xbc\xaf\x27\x1c..", "7-Zip archive"),
    "tar.gz": ("a.tar.gz", b"\x1f\x8b\x08", "gzip archive"),
    "tar": ("a.tar", b"02.ipynb\0\0", ".tar archive"),
    "essay": ("essay.docx", b"text", "a .docx file"),
    "script": ("02.py", b"x = 1", "a .py file"),
    "list": ("a.ipynb", b"[]", "not a notebook"),
    "number": ("a.ipynb", b"17", "not a notebook"),
    "no cells": ("a.ipynb", b"{}", "no cells"),
    "cells is a dict": ("a.ipynb", raw(cells={}), "no cells"),
    "damaged format 3": ("a.ipynb", b'{"worksheets": 5, "nbformat": 3}', "format 3, and damaged"),
    "deep": ("a.ipynb", b'{"cells":' * 10**5, "too deeply"),
    "deep list": ("a.ipynb", b'{"cells":' + b"[" * 10**5, "too deeply"),
    "deep metadata": ("a.ipynb", b'{"cells":[],"metadata":{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}}", "too deeply"),
    "long number": ("a.ipynb", b'{"cells":' + b"1" * 10**5 + b"}", "number too long"),
    "2001 cells": ("a.ipynb", raw(cells=[{}] * 2001), "more than 2000 cells"),
    "binary": ("a.ipynb", bytes(range(1, 256)), "not a notebook's"),
}


@pytest.mark.parametrize("kind", NOT_OPENED)
def test_what_is_not_a_notebook_is_named_in_words(kind):
    name, data, reason = NOT_OPENED[kind]
    found = opened(data, name)
    assert found.notebook is None and found.reason.startswith("not graded: ") and reason in found.reason


KEYS = ["cells", "metadata", "source", "cell_type", "outputs", "nbformat", "id", "nbgrader", "worksheets", "input"]
scalars = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["code", "markdown"])


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(scalars, lambda s: st.lists(s, max_size=4) | st.dictionaries(st.sampled_from(KEYS), s), max_leaves=25)
)
def test_any_json_is_a_valid_notebook_or_has_a_reason(value):
    found = opened(json.dumps(value).encode(), "a.ipynb")
    assert bool(found.reason) != bool(found.notebook is not None)
    if found.notebook is not None:
        nbformat.validate(found.notebook)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_have_a_reason(data):
    assert opened(data, "a.ipynb").reason


def test_what_is_nested_or_endless_is_read_at_once(tmp_path):
    pages = [b"<!-- -->" * 5000 + b"x", b"<!--" * 5000, b"<?xml" * 5000]
    assert all(opened(page, "a.ipynb").reason for page in pages)
    assert opened(b"<!-- a --> <!-- b --><html>", "a.ipynb").reason.startswith("not graded: it is a web page")
    cells = [nbformat.v4.new_markdown_cell("Name: " + "<" * 200_000), nbformat.v4.new_code_cell("1")]
    (tmp_path / f"ada {SECOND}.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))
    (one,) = collect(tmp_path).submissions
    assert one.student.name == "ada" and one.lesson == SECOND


def test_a_time_that_a_student_wrote_is_not_the_exchanges(tmp_path):
    early = "2020-01-01 10:00:00.000000 UTC"
    notebook = nbformat.writes(nbformat.v4.new_notebook())
    moodle = f"Ada_12_assignsubmission_file_/{SECOND}"
    for folder in (moodle, "bob", f"cleo/{SECOND}"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "timestamp.txt").write_text(early)
        (tmp_path / folder / f"{SECOND}.ipynb").write_text(notebook)
    with zipfile.ZipFile(tmp_path / "dan.zip", "w") as archive:
        archive.writestr(f"{SECOND}/timestamp.txt", early)
        archive.writestr(f"{SECOND}/{SECOND}.ipynb", notebook)
    years = {one.path.split("/")[0]: one.time.year for one in collect(tmp_path).submissions if one.notebook}
    assert years.pop("cleo") == 2020 and len(years) == 3 and 2020 not in years.values()
