"""Every coding exercise: its check takes the right answer, and names the usual mistakes."""

import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGES = sorted((path.parents[1].name, path.stem) for path in TESTS.glob("*/exercises/*.py"))
CHECKS = [
    pytest.param(check, right, mistakes, id=f"{chapter}-{page}-{check.__name__}")
    for chapter, page in PAGES
    for check, (right, mistakes) in importlib.import_module(f"tests.{chapter}.exercises.{page}").EXERCISES.items()
]
WRONG = [
    pytest.param(check, wrong, hint, id=f"{case.id}-{wrong.__name__}")
    for case in CHECKS
    for check, _, mistakes in [case.values]
    for wrong, hint in mistakes.items()
]


@pytest.mark.parametrize("check, right, mistakes", CHECKS)
def test_the_right_answer_passes(check, right, mistakes, capsys):
    check(right)
    assert capsys.readouterr().out.endswith(": correct\n")
    assert len(mistakes) >= 2


@pytest.mark.parametrize("check, wrong, hint", WRONG)
def test_the_usual_wrong_answers_are_rejected_by_name(check, wrong, hint):
    with pytest.raises(AssertionError) as caught:
        check(wrong)
    assert str(caught.value) == hint


def test_every_chapter_with_pages_has_exercises():
    assert {chapter for chapter, _ in PAGES} == {path.parent.name for path in TESTS.parent.glob("book/*/index.md")}
