"""The page that compares two attempts, asked in process: which two, what it shows, how safely."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from nightmill.causes import Cause
from nightmill.review.access import OwnerAccess
from nightmill.review.app import make_app
from nightmill.review.compare import contents
from nightmill.review.pages import compare as page_module
from nightmill.review.site import Site
from nightmill.spec.record import AttemptState, Code, Failure, Review
from nightmill.store.bundle import keep, pack
from nightmill.store.history import prefix_of
from nightmill.store.open import open_store
from nightmill.store.pointer import Pointer, Token, commit
from tests.compared import code, data, leave, notebook, printed, shown
from tests.reviewed_nights import Night, add, roll_back

PNGS = [
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==",
]
NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def night(at, *, text="same", png=0, source="score(day)"):
    """Write the notebook of a night."""
    table = f"<table><tr><th>auc</th><td>0.{at}{NASTY}</td></tr></table>"
    return notebook(
        code("import pandas", cell="a", number=1),
        code(source, printed(text), cell="b", number=2),
        code("plot()", data("image/png", PNGS[png]), cell="c", number=3),
        code("table()", shown(text_html=table), cell="d", number=4),
    )


@dataclass(frozen=True)
class Pages:
    """A client of the pages of one store, with the prefixes of what lies there."""

    client: TestClient
    prefixes: dict[str, str]

    def get(self, name, *, code=200, **query):
        """Ask for the facts of the page about an attempt."""
        answer = self.client.get(f"/api{self.path(name)}", params=query)
        assert answer.status_code == code, answer.text
        return answer.json()

    def html(self, name, *, code=200, **query):
        """Ask for the page itself."""
        answer = self.client.get(self.path(name), params=query)
        assert answer.status_code == code
        return answer.text

    def path(self, name):
        """Return the page's address."""
        return "/compare/" + self.prefixes[name].removeprefix("runs/")

    def other(self, name, **query):
        """Name the attempt that one is compared with."""
        before = self.get(name, **query)["before"]
        names = {prefix: name for name, prefix in self.prefixes.items()}
        return before and names[before["prefix"]]


def pages_of(store, prefixes):
    """Serve a store in process."""
    return Pages(TestClient(make_app(Site.open(store, OwnerAccess("Ada")))), prefixes)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Fill a store with good, bad, held, repeated and unrelated attempts."""
    folder = tmp_path_factory.mktemp("compare")
    store = open_store("store", base=folder)
    failure = Failure(cause=Cause.NOTEBOOK_ERROR, message="KeyError: 'x'", cell=2)
    bad = {"state": AttemptState.FAILED, "committed": False, "failure": failure}
    held = {"committed": False, "review": Review(required=("scores",))}

    def on(day, order, **facts):
        at = {"partition": f"2013-01-{day:02}", "run": f"run-{order}", "order": order}
        made = facts.pop("made", None)
        return leave(store, made or night(order), **at, **facts)

    prefixes = {
        "first": on(1, 1, metrics={"auc": 0.8}),
        "second": on(2, 2, metrics={"auc": 0.85}, made=night(2, png=1, source=f"score({NASTY!r})")),
        "failed": on(3, 3, **bad),
        "held": on(4, 4, **held),
        "fifth": on(5, 5, metrics={"auc": 0.86}),
        "repeated": on(5, 9),
        "again": on(5, 9, attempt=2),
        "later and bad": on(1, 30, **bad),
        "member": on(4, 6, member="north"),
        "member before": on(1, 7, member="north"),
        "other step": on(4, 8, step="other"),
        "bare": leave(store, None, partition="2013-02-01", run="run-20", order=20, **bad),
        "broken": leave(store, b"{", partition="2013-02-02", run="run-21", order=21),
    }
    return pages_of(store, prefixes)


# -- with which ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("first", None),  # nothing is before it
        ("second", "first"),
        ("failed", "second"),
        ("held", "second"),  # not with what failed
        (
            "fifth",
            "second",
        ),  # nor with what waits for approval, nor with a later run of its own day
        ("repeated", "fifth"),  # of the same partition an older run
        ("again", "repeated"),
        ("member", "member before"),  # of the same member, not of the step's other ones
        ("member before", None),
        ("other step", None),
        ("bare", "again"),
    ],
)
def test_the_last_good_attempt(pages, name, expected):
    """An attempt meets the newest committed one before it, of its own step and member."""
    assert pages.other(name) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"with_partition": "2013-01-01"}, "first"),
        ({"with_partition": "2013-01-03"}, "failed"),
        ({"with_partition": "2013-01-05"}, "again"),  # the newest good one
        ({"with_partition": "2013-01-05", "with_run": "run-5"}, "fifth"),
        ({"with_run": "run-9", "with_attempt": "1"}, "repeated"),
        ({"with_attempt": "2"}, "again"),
    ],
)
def test_the_attempt_that_a_reader_names(pages, query, expected):
    """A later one too, a bad one too: whatever the names of the address leave."""
    assert pages.other("second", **query) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"with_partition": "2012-01-01"},
        {"with_partition": "2013-01-02"},  # itself
        {"with_run": "run-6"},  # of a member
        {"with_run": "../../run-1"},
        {"with_attempt": "7"},
        {"with_attempt": "one"},
        {"with_attempt": "-1"},
        {"with_attempt": "\u0663"},
        {"with_attempt": "9" * 5000},
        {"with_partition": NASTY},
    ],
)
def test_names_that_lead_nowhere(pages, query):
    """What does not name an attempt at this step is told as such, and never becomes a key."""
    assert "title" in pages.get("second", code=404, **query)["error"]
    assert NASTY not in pages.html("second", code=404, **query)


def test_an_attempt_that_is_not_there(pages):
    """An address without a record is told to be one."""
    answer = pages.client.get("/compare/flights/2013-01-01/run-404/score/1")
    assert answer.status_code == 404
    assert "no record of this attempt" in answer.text


def test_where_the_index_knows_nothing_the_pointers_tell(store):
    """In a store that is older than its index the last good attempt is found all the same."""
    days = [{"partition": f"2013-01-{at:02}", "run": f"run-{at}", "order": at} for at in (1, 2, 3)]
    prefixes = {at["run"]: leave(store, night(1), is_noted=False, **at) for at in days}
    for at in days[:2]:
        names = {"pipeline": "flights", "step": "score", **at}
        token = Token(order=names.pop("order"), attempt=1)
        prefix = prefixes[at["run"]]
        commit(store, Pointer(**names, token=token, attempt_prefix=prefix, outputs={}))
    asked = pages_of(store, prefixes)
    assert asked.other("run-3") == "run-2"
    assert asked.other("run-2") == "run-1"
    assert asked.other("run-1") is None


@pytest.fixture
def taken_back(store):
    """Let a person take a bad night back to the run before; another night follows."""
    files = {"scores": {"s.csv": b"a\n"}}
    nights = {
        "before": Night(files=files, number=1),
        "good": Night(files=files, partition="2013-03-03", number=2),
        "bad": Night(files=files, partition="2013-03-03", number=3),
        "next": Night(files=files, partition="2013-03-04", number=4),
    }
    prefixes = {name: prefix_of(add(store, one)) for name, one in nights.items()}
    why = {"by": "ann", "reason": "half is missing"}
    roll_back(store, nights["bad"], output="scores", to="run-2:1", **why)
    return pages_of(store, prefixes)


@pytest.mark.parametrize(
    ("name", "expected"), [("next", "good"), ("bad", "good"), ("good", "before")]
)
def test_what_a_person_took_back_is_not_good(taken_back, name, expected):
    """The last good attempt of a partition is the one that is current, not the newest that was."""
    assert taken_back.other(name) == expected
    assert taken_back.other("before", with_partition="2013-03-03") == "good"
    assert taken_back.other("before", with_run="run-3") == "bad"


def test_what_was_taken_back_is_not_good_before_a_later_run(store):
    """Nor is it for an attempt that came after it, and that a person made current again."""
    files = {"scores": {"s.csv": b"a\n"}}
    nights = [Night(files=files, partition="2013-03-03", number=at) for at in range(3)]
    prefixes = {str(at): prefix_of(add(store, one)) for at, one in enumerate(nights)}
    for to in ("run-0:1", "run-1:1", "run-0:1", "run-2:1"):
        roll_back(store, nights[0], output="scores", to=to, by="ann")
    assert pages_of(store, prefixes).other("2") is None


def test_a_damaged_pointer_does_not_hide_what_committed(taken_back, store):
    """Where nobody can tell what is current, the newest that committed counts."""
    store.write("current/flights/score/2013-03-03.json", b"{")
    assert taken_back.other("next") == "bad"


# -- what is shown ---------------------------------------------------------------------------------


def test_only_what_differs_unless_all_is_asked_for(pages):
    """Equal cells are there with all=1 only, and each of both pages leads to the other."""
    brief, full = pages.get("second"), pages.get("second", all="1")
    assert [one["number_after"] for one in brief["comparison"]["cells"]] == [2, 3, 4]
    assert [one["number_after"] for one in full["comparison"]["cells"]] == [1, 2, 3, 4]
    assert brief["other_extent"].endswith("?all=1")
    assert full["other_extent"] == pages.path("second")
    (metric,) = brief["comparison"]["metrics"]["shown"]
    assert (metric["before"], metric["after"], metric["note"]) == (
        "0.8000", "0.8500", "+0.05000 (+6.25%)",
    )  # fmt: skip


def test_choices_lead_to_other_comparisons(pages):
    """Every other attempt of the step is offered, the chosen one marked, and its link works."""
    choices = pages.get("second")["choices"]
    assert [(one["partition"], one["run"]) for one in choices if one["is_chosen"]] == [
        ("2013-01-01", "run-1")
    ]
    assert len(choices) == 9  # neither itself, nor members and other steps
    other = pages.client.get(f"/api{choices[0]['address']}").json()
    assert other["before"]["partition"] == choices[0]["partition"]
    assert other["is_last_good"] is False


def test_without_a_notebook_the_records_are_compared(pages):
    """What is known of both is told, and why the cells are not."""
    for name, reason in [("bare", "this attempt has left no executed notebook"),
                         ("broken", "this attempt has a damaged notebook")]:  # fmt: skip
        found = pages.get(name)["comparison"]
        assert found["notes"] == [f"cells are not compared: {reason}"]
        assert found["cells"] == []
    assert pages.get("bare")["comparison"]["outcome"]["shown"][0]["after"] == "failed"
    assert "Cells are not compared" in pages.html("bare")


def test_a_notebook_that_is_too_large_is_not_read(pages, monkeypatch):
    """Its size is asked for before its bytes are, and told."""
    monkeypatch.setattr(page_module, "MAX_BYTES", 100)
    notes = pages.get("second")["comparison"]["notes"]
    assert len(notes) == 2
    assert "at most 100 B are compared" in notes[0]
    assert contents.MAX_BYTES == 64 << 20


def test_pictures_are_seen_at_signed_addresses(pages):
    """The page holds no picture: each is at an address of ours that answers with its bytes."""
    html = pages.html("second")
    addresses = re.findall(r'<img src="([^"]+)"', html)
    assert len(addresses) == 2
    assert all(png not in html for png in PNGS)
    for address, png in zip(addresses, PNGS, strict=True):
        answer = pages.client.get(address.replace("&amp;", "&"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.content == base64.b64decode(png)
    assert pages.client.get(addresses[0].partition("?")[0]).status_code == 403


class Tags(HTMLParser):
    """Collects what elements and attributes a page has."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.found.append((tag, dict(attrs)))


def test_what_a_notebook_holds_is_never_markup(pages):
    """Source, printed text and cells of tables arrive as text, and the page runs nothing."""
    answer = pages.client.get(pages.path("second"))
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    tags = Tags()
    tags.feed(answer.text)
    names = {tag for tag, _attrs in tags.found}
    assert not names & {"script", "iframe", "object", "style"}
    assert not [attrs for _tag, attrs in tags.found if any(one.startswith("on") for one in attrs)]
    assert not [attrs for _tag, attrs in tags.found if "style" in attrs]
    assert "&lt;script&gt;" in answer.text  # in the source of cell 2, as text
    assert {attrs["src"].split("/")[1] for tag, attrs in tags.found if tag == "img"} == {"part"}


def test_changes_are_told_in_words_and_signs(pages):
    """Whoever sees no colours reads of every change; lines and cells are ins and del."""
    html = pages.html("second")
    assert '<span class="unseen">changed</span>' in html
    assert re.search(r'<del class="line removed">.*?\N{MINUS SIGN}.*?score\(', html)
    assert re.search(r'<ins class="line added">.*?\+.*?score\(', html)
    assert '<del dir="auto">0.1</del> <ins dir="auto">0.2</ins>' in html


def test_a_first_attempt_says_what_to_do(pages):
    """Where nothing good is before it, the page offers the others."""
    html = pages.html("first")
    assert "nothing good before this attempt" in html
    assert 'name="with_partition"' in html
    assert "Choose any other attempt above." in html


def test_an_only_attempt_offers_no_choice(pages):
    """Where there is no other attempt at all, nobody is told to choose one."""
    html = pages.html("other step")
    assert "nothing good before this attempt" in html
    assert "Choose any other" not in html
    assert 'name="with_partition"' not in html


def test_files_that_only_bundles_know(store, tmp_path):
    """A changed pipeline.yaml is told by name and hash; its content, secrets included, is not."""
    prefixes = {}
    for at, text in enumerate(["top_secret: 1", "top_secret: 2"], start=1):
        file = tmp_path / f"{at}.yaml"
        file.write_text(text)
        bundle = pack({"notebooks/flights/pipeline.yaml": file})
        keep(store, bundle)
        facts = Code(
            notebook="notebooks/flights/score.ipynb", notebook_sha256="n", modules={},
            git_commit=None, git_dirty=None, image=None, bundle=bundle.sha256,
        )  # fmt: skip
        day = {"partition": f"2013-01-{at:02}", "run": f"run-{at}", "order": at}
        prefixes[str(at)] = leave(store, night(1), code=facts, **day)
    asked = pages_of(store, prefixes)
    (file,) = asked.get("2")["comparison"]["code"]["shown"]
    expected = hashlib.sha256(b"top_secret: 2").hexdigest()[:12]
    assert (file["name"], file["after"]) == (
        "notebooks/flights/pipeline.yaml", f"sha256 {expected}",
    )  # fmt: skip
    assert "top_secret" not in asked.html("2")
