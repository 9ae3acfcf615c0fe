"""Show the points of a student's repository on GitHub: ``python instructor/classroom.py graded`` in `classroom.yml`.

A table goes to the page of the run, and the total to two notices as GitHub Classroom's reporter writes them. The step's
output ``result`` has each exercise as Classroom's graders report it, JSON in base64.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Annotated

import typer
from results import Graded, Result, read_all


def tests(results: list[Result]) -> list[dict]:
    """The exercises that a check has graded, one entry for each; open questions wait for a person."""
    return [_test(result, one) for result in results for one in result.exercises if one.points is not None]


def _test(result: Result, one: Graded) -> dict:
    return {
        "name": f"{one.number} {one.title}",
        "status": "pass" if one.points == one.of else "fail",
        "score": one.points,
        "message": one.sentence,
        "test_code": "",
        "filename": f"{result.lesson}.ipynb",
        "line_no": 0,
        "duration": 0,
    }


def report(results: list[Result]) -> dict:
    """What a grader of GitHub Classroom reports."""
    found, most = tests(results), sum(result.of for result in results)
    status = "pass" if found and all(test["status"] == "pass" for test in found) else "fail"
    return {"version": 1, "status": status, "max_score": most, "tests": found}


def summary(results: list[Result]) -> str:
    """A table in Markdown."""
    rows = ["| exercise | points | what the check says |", "|---|---|---|"]
    for result in results:
        for one in result.exercises:
            points = "waits for a person" if one.points is None else f"{one.points:g} / {one.of:g}"
            says = " ".join(one.sentence.split()).replace("|", "\\|")
            rows.append(f"| {one.number} {one.title} | {points} | {says} |")
    total = f"**{_sum(results)[0]:g} of {_sum(results)[1]:g} points**"
    return "\n".join([total, "", *rows, ""]) if results else "**No notebook could be graded: see the step before.**\n"


def _sum(results: list[Result]) -> tuple[float, float]:
    return sum(result.points for result in results), sum(result.of for result in results)


def main(graded: Annotated[Path, typer.Argument(exists=True, help="What `make grade` wrote.")]) -> None:
    """Show the points of one student's notebooks on GitHub."""
    results = read_all(graded / "results")
    points, most = _sum(results)
    print(f"::notice title=Autograding complete::Points {points:g}/{most:g}")
    print(f"::notice title=Autograding report::{json.dumps({'totalPoints': points, 'maxPoints': most})}")
    encoded = base64.b64encode(json.dumps(report(results)).encode()).decode()
    for variable, text in (("GITHUB_STEP_SUMMARY", summary(results)), ("GITHUB_OUTPUT", f"result={encoded}\n")):
        if path := os.environ.get(variable):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            print(text)


if __name__ == "__main__":
    typer.run(main)
