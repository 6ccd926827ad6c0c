"""Rendered notebooks are kept, and sent while they are made."""

import pytest

from nightmill.review import rendered
from nightmill.review.rendered import Rendered


def never():
    """Be a document that must not be made."""
    pytest.fail("the document was made again")
    yield ""


def test_a_document_is_made_once():
    """The second reader of a document gets the same bytes from disk, and nothing is rendered."""
    kept = Rendered()
    assert b"".join(kept.document("a", iter(["<p>", "é</p>"]))) == "<p>é</p>".encode()
    assert b"".join(kept.document("a", never())) == "<p>é</p>".encode()


def test_other_keys_are_other_documents():
    """A notebook that has changed is rendered anew."""
    kept = Rendered()
    assert b"".join(kept.document("a", iter(["old"]))) == b"old"
    assert b"".join(kept.document("b", iter(["new"]))) == b"new"


def test_the_first_chunk_comes_before_the_second_is_made():
    """A document is sent cell by cell: nobody waits for its end."""
    made = []

    def cells():
        for name in ("first", "second"):
            made.append(name)
            yield name

    chunks = Rendered().document("a", cells())
    assert next(chunks) == b"first"
    assert made == ["first"]


def test_a_document_that_nobody_read_to_its_end_is_not_kept():
    """A reader who leaves in the middle leaves nothing that the next one would take for whole."""
    kept = Rendered()
    chunks = kept.document("a", iter(["first", "second"]))
    next(chunks)
    chunks.close()
    assert b"".join(kept.document("a", iter(["whole"]))) == b"whole"


def test_the_oldest_documents_make_room(monkeypatch):
    """No more is kept on disk than the limit, and the newest documents stay."""
    monkeypatch.setattr(rendered, "_KEPT_BYTES", 10)
    kept = Rendered()
    for name in "abc":
        b"".join(kept.document(name, iter([name * 4])))
    assert b"".join(kept.document("c", never())) == b"cccc"
    remade = b"".join(kept.document("a", iter(["anew"])))
    assert remade == b"anew"


def test_lone_surrogates_do_not_stop_a_document():
    """Text that no encoding can hold is replaced where it stands."""
    assert b"".join(Rendered().document("a", iter(["a\ud800b"]))) == b"a?b"
