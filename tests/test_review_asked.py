"""What an address asks of a list: names that are not known are told, and nothing is made up."""

from nightmill.store.open import open_store
from tests.review_client import open_client
from tests.reviewed_nights import Night, add


def test_where_nothing_could_be_chosen(tmp_path):
    """Of a step without members none can be asked for, and the page says that there is none."""
    store = open_store("store", base=tmp_path)
    add(store, Night(number=1, files={"scores": {"s.csv": b"m\n1\n"}}))
    odd = "/outputs/flights/scores/2013-03-02?member=a"
    said = "member=`a` is not known here. There is none here."
    pages = open_client(store)
    assert said in pages.get(odd).text
    assert said in pages.get(f"/api{odd}").text
