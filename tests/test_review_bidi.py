"""Names that others chose stand apart from what is beside them, whichever way they are read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import nightmill.review
from nightmill import __version__
from nightmill.store.open import open_store
from tests.past_nights import DUE, Morning
from tests.review_client import get, open_client
from tests.reviewed_nights import Night, add, keep_code

ODD = "\u05d0\u05d1 1\u202egp.exe"
"""Hebrew letters, a digit, and an order to turn around all that follows."""
APART = {"bdi", "code", "pre", "q", "option", "title", "desc", "text"}
"""Elements that are a paragraph of their own, or one for the order of their letters."""
NO_MARKUP = {"title", "option", "pre", "desc", "text"}
EMPTY = {"input", "meta", "link", "br", "img", "hr", "path", "line", "circle", "rect"}
NAMES = re.compile(
    r"(?:^|\.)(?:as_of|by|column|host|label|member|name|needs|output|owner|partition|pipeline|pool"
    r"|run|step|task)\b"
)
"""Expressions of templates that others named; columns of a notebook's table are cells."""
OURS = {("macros.html", "label"), ("compare_parts.html", "label")}  # words that a page gives
TEMPLATES = Path(nightmill.review.__file__).with_name("templates")
STEPS = "{s: {notebook: s.ipynb, outputs: {o: s.csv}}}"


class _Beside(HTMLParser):
    """Collects texts with an odd name that stand in the same line as others."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.names = 0
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        is_apart = tag in APART or given.get("dir") == "auto" or given.get("class") == "unseen"
        if tag == "input" and ODD in (given.get("value") or "") and not is_apart:
            self.found.append(f"input {given.get('name')}")
        if tag not in EMPTY:
            self._open.append((tag, is_apart))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if ODD not in data:
            return
        self.names += 1
        elements = {tag for tag, _is_apart in self._open}
        if (
            re.search(rf"{re.escape(ODD)}:\d", data) and not elements & NO_MARKUP
        ):  # a run that turns its attempt around
            self.found.append(f"version: {data}")
        if not any(is_apart for _tag, is_apart in self._open):
            self.found.append(f"{self._open[-1][0] if self._open else ''}: {data}")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Let a step have a partition, members, metrics and an owner whose names are odd."""
    folder = tmp_path_factory.mktemp("bidi")
    store = open_store("store", base=folder)
    named = f"owner: '{ODD}'\ntags: ['{ODD}', other]\n".encode("unicode-escape").decode()
    text = f"pipeline: p\n{named.replace(chr(39), chr(34))}partition: text\nsteps: {STEPS}\n"
    code = keep_code(store, folder, text)
    for number in range(2):
        for member in (ODD, "two"):
            metrics = {ODD: number, "kind": ODD * (1 + number), "huge": 10**200}
            files = {"o": {"s.csv": f"{ODD}\n1\n".encode()}}
            names = {"pipeline": "p", "step": "s", "run": f"{number}{ODD}", "member": member}
            night = Night(**names, number=number, metrics=metrics)
            made = {"partition": f"{ODD}{number}", "files": files, "bundle": code}
            add(store, Night(**{**vars(night), **made}))
    return open_client(store)


def addresses(pages):
    """Name pages of every kind that lists names."""
    (output,) = get(pages, "/outputs")["outputs"]
    versions = get(pages, output["address"])["partitions"][0]["address"]
    run = get(pages, "/runs")["rows"][0]["address"]
    attempt = get(pages, "/metrics/p/s")["rows"][0]["address"]
    compare = attempt.replace("/runs/", "/compare/", 1)
    fixed = ["/", "/runs", "/metrics", "/metrics/p/s", "/outputs", "/pipelines/p"]
    asked = [f"/runs?q={ODD}&step={ODD}&from={ODD}", f"/?pipeline={ODD}", f"/?state={ODD}"]
    return [*fixed, *asked, output["address"], versions, run, attempt, compare]


def test_odd_names_stand_apart(pages):
    """On no page can a name move or turn around the words beside it."""
    found = {}
    for address in addresses(pages):
        text = pages.get(address).text
        beside = _Beside()
        beside.feed(text)
        assert beside.names, address
        found[address] = beside.found
    assert {address: texts for address, texts in found.items() if texts} == {}


def test_every_page_says_which_nightmill_made_it(pages):
    """Its last line has the version, whatever else the page calls by that name."""
    for address in addresses(pages):
        assert f"· Nightmill {__version__}</p>" in pages.get(address).text, address


def test_a_number_of_many_digits_is_short(pages):
    """No table is as wide as the longest number that a notebook reported."""
    text = pages.get("/metrics/p/s").text
    assert "1.000e+200" in text
    assert "0" * 50 not in text


def test_the_first_page_of_odd_names(tmp_path):
    """What needs somebody stands apart, too, where the name of its partition is odd."""
    made = Morning.at(tmp_path)
    made.pipeline("p", f"partition: text\nsteps: {STEPS}\n")
    made.attempt("p", ODD, "s", began=DUE, fails="store")
    beside = _Beside()
    beside.feed(made.pages().get("/").text)
    assert (beside.names > 0, beside.found) == (True, [])


def names_beside(template: Path) -> list[str]:
    """Return the names of a template that stand in the same line as others."""
    text = template.read_text(encoding="utf-8").replace("{% block title %}", "<title>")
    text = re.sub(r"(?<=<title>)(.*?)\{% endblock %\}", r"\1</title>", text)
    text = re.sub(r"\{([#%]).*?\1\}", "", text, flags=re.DOTALL)

    def marked(found: re.Match) -> str:
        shown = found[1].strip("- \n")
        is_name = NAMES.search(shown.partition("|")[0]) and (template.name, shown) not in OURS
        return f"{ODD}{shown}" if is_name and '"' not in shown and "(" not in shown else ""

    beside = _Beside()
    beside.feed(re.sub(r"\{\{(.*?)\}\}", marked, text, flags=re.DOTALL))
    return beside.found


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("*.html")), ids=lambda one: one.name)
def test_every_template_sets_names_apart(template):
    """Also those parts of a page that no example of these tests shows."""
    assert names_beside(template) == []
