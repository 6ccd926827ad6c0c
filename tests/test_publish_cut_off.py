"""Publishing into a Delta table over a network that cuts replies: begun anew, or clearly told."""

from pathlib import Path

import pytest

from nightmill.errors import StoreError
from nightmill.publish.publish import publish_current
from nightmill.publish.said import said, translated
from nightmill.publish.target import CutOffError, PublishError, State, bring_up_to_date
from nightmill.store.open import open_store
from tests.published import DELTA, PLACE, commit_scores
from tests.s3_proxy import Fault, run_proxy
from tests.stored_versions import current
from tests.test_publish_delta import rows


@pytest.fixture
def spec(load_spec):
    """Declare the scores as a table."""
    return load_spec(DELTA)


@pytest.fixture
def line(s3_server, s3_url):
    """Open a store with a commit, directly and behind a proxy."""
    with run_proxy(s3_server.endpoint) as proxy:
        direct = open_store(s3_url, base=Path())
        commit_scores(direct, 1)
        url = s3_url.replace(s3_server.endpoint, proxy.endpoint)
        yield direct, open_store(url, base=Path()), proxy


def cut(at: set[int]):
    """Cut replies to requests for the table's log: those of these numbers, from 0."""
    seen = []

    def fault(request):
        if "_delta_log" not in request.path:
            return None
        seen.append(request)
        return Fault.CUT_REPLY if len(seen) - 1 in at else None

    return fault


# The first two requests open the table, the next ones make it: that error is looked into by a
# request for which no other thread must wait, not even the proxy that is to answer it.
@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", range(6))
def test_a_reply_that_is_cut_once_does_not_fail_a_publish(line, spec, number):
    """A listing that is cut makes deltalake give up at once; the publish is begun anew."""
    direct, behind, proxy = line
    proxy.fault = cut({number})
    (found,) = publish_current(behind, spec, **PLACE)
    assert (found.state, found.problem) == (State.PUBLISHED, "")
    assert len(rows(direct)) == 3


def test_replies_that_are_always_cut_are_told_as_the_stores(line, spec):
    """In one line of plain text, without advice about columns; the next publish completes."""
    direct, behind, proxy = line
    proxy.fault = cut(set(range(99)))
    (found,) = publish_current(behind, spec, **PLACE)
    assert found.state is State.FAILED
    assert "Generic S3 error" in found.problem
    assert "see that the store can be reached" in found.problem
    assert "column" not in found.problem
    assert found.problem.isprintable()
    assert sum("_last_checkpoint" in one.path for one in proxy.seen) == 3
    (found,) = publish_current(direct, spec, **PLACE)
    assert found.state is State.PUBLISHED


def test_a_store_that_is_gone_after_a_cut_is_asked_only_by_our_own_client(tmp_path):
    """What cannot even tell the pointer is not asked to publish again."""
    store, reads = open_store("store", base=tmp_path), []
    commit_scores(store, 1)

    class Broken:
        address = "there"

        def look(self, _pointer):
            raise CutOffError("cut", address="there", operation="publish")

    def read():
        reads.append(1)
        if len(reads) > 1:
            raise StoreError("is gone", address="there", operation="read")
        return current(store)

    with pytest.raises(StoreError, match="is gone"):
        bring_up_to_date(Broken(), read)
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("Kernel error -> Generic S3 error"), CutOffError),
        (PermissionError("denied"), CutOffError),
        (ValueError("Failed to parse parquet: External: Generic S3 error: cut"), CutOffError),
        (ValueError("Error interacting with object store: x"), CutOffError),
        (FileNotFoundError("part-0.parquet"), PublishError),
        (ValueError("Cannot cast schema, number of fields does not match"), PublishError),
    ],
    ids=lambda one: type(one).__name__,
)
def test_errors_of_the_store_are_told_from_those_of_the_table(error, kind):
    """Only the former are tried again, and only the latter advise about columns."""
    found = translated(error, "s3://b/t")
    assert type(found) is kind
    assert ("column" in str(found)) is (kind is PublishError)


def test_colours_and_stacks_are_taken_from_what_is_said():
    """The library writes for a terminal."""
    text = "Kernel error\n   \x1b[31m↳\x1b[0m HTTP error\n   0: a frame\n"
    assert said(OSError(text)) == "Kernel error HTTP error"
