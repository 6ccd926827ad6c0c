"""Every odd notebook shows what it must, or says plainly why not, and nothing in it can act."""

from __future__ import annotations

import time

import pytest

from tests.odd_hostile import HOSTILE
from tests.odd_notebooks import ODD
from tests.rendered import check_inert, page_of

_LONGEST_S = 20  # of a page on a machine that does other things; most take milliseconds


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_an_odd_notebook_renders_or_says_why_not(odd):
    """Every notebook of the corpus has a page that shows what it must and cannot act."""
    data, begun = odd.make(), time.monotonic()

    page = page_of(data, **odd.page)

    assert time.monotonic() - begun < _LONGEST_S
    check_inert(page)
    for words in odd.seen:
        assert words in page.text
    for markup in odd.has:
        assert markup in page.html
    for words in odd.never:
        assert words not in page.html
    assert "could not be rendered" not in page.text


def test_the_corpus_is_large_and_its_names_are_unique():
    """At least sixty notebooks, a third of them hostile, each with a name of its own."""
    names = [odd.name for odd in ODD]

    assert len(names) == len(set(names)) >= 60
    assert len(HOSTILE) >= 20
