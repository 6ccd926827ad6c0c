"""Who is let in where: every address of the pages, tried by everyone who has no business there.

On a port of its own, with a token or behind a proxy that names the user. In Airflow the same
addresses are tried by `test_review_airflow`.
"""

from __future__ import annotations

import json

import pytest
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from nightmill.review.access import HeaderAccess, OwnerAccess, TokenAccess
from nightmill.review.app import make_app
from nightmill.review.signing import form_proof, mark_of, signed
from nightmill.review.site import Site
from nightmill.review.views import Action, Part, View
from tests.review_routes import (
    EXAMPLES,
    HIDDEN,
    SECRET,
    SHOWN,
    Rights,
    all_of,
    ask,
    codes,
    entangled,
    every_address,
    keys,
)

TOKEN = "a-token-of-the-tests"
USER = "X-Forwarded-User"
KEY = b"k" * 32
SESSION_ID = "s" * 32
COOKIE = TokenAccess(TOKEN).cookie_name
SESSION = f"nightmill_session_{mark_of(KEY)}"
ADDRESSES = list(every_address())
ABOUT_ONE = [one for one in ADDRESSES if one.is_about_a_pipeline and one.kind is not Part]
ABOUT_ALL = [one for one in ADDRESSES if not one.is_about_a_pipeline]
READING = [one for one in ABOUT_ONE if one.kind is not Action]
ACTING = [one for one in ADDRESSES if one.kind is Action]
PARTS = [one for one in ADDRESSES if one.kind is Part]
NAMED = (
    *("q", "pipeline", "step", "from", "to", "owner", "cause", "standing", "metric", "until"),
    *("with_partition", "with_run", "with_attempt", "all", "seen", "version", "last", "page"),
)


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Make a store in which one pipeline is hidden from some."""
    return entangled(tmp_path_factory.mktemp("nights"))


@pytest.fixture
def enter(nights):
    """Return a function that opens the pages to a browser, by what decides who is let in."""

    def open_pages(access, *, hosts=frozenset(), **headers):
        site = Site.open(nights.store, access, root=nights.root, secret=KEY, hosts=hosts)
        app = make_app(site)
        return TestClient(app, base_url="http://localhost", headers=headers, follow_redirects=False)

    return open_pages


# -- the inventory --------------------------------------------------------------------------------


def test_every_route_is_tried():
    """No route is there but those that these tests try, and each name in one has an example."""
    app = make_app(Site.open(None, TokenAccess(TOKEN)))
    routes = {route.path for route in app.routes if isinstance(route, Route)}
    assert routes == {one.path for one in ADDRESSES} | {"/sign-in"}
    assert [one.path for one in app.routes if isinstance(one, Mount)] == ["/static"]
    unknown = {name for one in ADDRESSES for name in one.names} - EXAMPLES.keys() - {"pipeline"}
    assert not unknown, "say in tests/review_routes.py what these may be"


def test_every_act_and_every_part_names_a_pipeline():
    """What has no pipeline is open to all who are let in: it may act on nothing."""
    assert not [one for one in ABOUT_ALL if one.kind is not View]


# -- nobody ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("access", [TokenAccess(TOKEN), HeaderAccess(USER)], ids=["token", "proxy"])
def test_nobody_sees_anything(access, enter, nights):
    """Whoever is not signed in gets no page, no JSON, no document, and changes nothing."""
    before = keys(nights.store)
    client = enter(access)
    addresses = [one for one in ADDRESSES if one.kind is not Part]
    assert codes(client, addresses) == all_of(401, addresses)
    assert codes(client, PARTS) == all_of(403, PARTS)
    assert keys(nights.store) == before


def test_static_files_and_nothing_else_are_for_all(enter):
    """The look of the sign-in page is no secret; the folder around it is."""
    client = enter(TokenAccess(TOKEN))
    assert client.get("/static/style.css").status_code == 200
    for path in ("/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        assert client.get(path).status_code in (401, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong-wrong-wrong-wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": f"{COOKIE}="},
        {"Cookie": f"{COOKIE}=\xff".encode("latin-1")},
        {USER: "Ada"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Cookie": f"{COOKIE}={TokenAccess(TOKEN).cookie}", "Authorization": "Bearer wrong"},
    ],
)
def test_a_wrong_token(headers, enter):
    """Nothing but the token itself, or the cookie made of it, signs in."""
    client = enter(TokenAccess(TOKEN))
    for one in (ABOUT_ALL[0], READING[0], ACTING[0]):
        assert ask(client, one, headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ([], "is missing"),
        ([("X-User", "A")], "is missing"),
        ([(USER, "")], "is empty"),
        ([(USER, " \t")], "is empty"),
        ([(USER, "Ada"), (USER, "Eve")], "was sent 2 times"),
        ([(USER, "Ada"), (USER, "Ada")], "was sent 2 times"),
    ],
)
def test_a_proxy_that_names_nobody(headers, sent, enter):
    """An empty name is nobody's, and of two one was not the proxy's: the header is named."""
    client = enter(HeaderAccess(USER))
    page, told = client.get("/", headers=headers), client.get("/api/", headers=headers)
    assert (page.status_code, told.status_code) == (401, 401)
    said = f"The header {USER}, in which the proxy names who is signed in, {sent}."
    assert told.json()["error"]["text"] == said
    assert "ask whoever runs the proxy" in told.json()["error"]["advice"]
    assert said in page.text
    assert "Please sign in" not in page.text  # nobody can, here
    assert "Eve" not in page.text


def test_a_proxy_that_must_show_a_token(enter):
    """Where others reach the port, a name counts with the proxy's token only."""
    client = enter(HeaderAccess(USER, TokenAccess(TOKEN)))
    named, proof = {USER: "Ada"}, {"Authorization": f"Bearer {TOKEN}"}
    cookie = {"Cookie": f"{COOKIE}={TokenAccess(TOKEN).cookie}"}
    strange = client.get("/", headers=named)
    assert strange.status_code == 401
    assert "has not the token of the proxy" in strange.text
    assert USER not in strange.text  # who has no token learns nothing
    assert client.get("/", headers=proof).status_code == 401
    assert client.get("/", headers=named | cookie).status_code == 401
    assert client.get("/", headers=named | proof).status_code == 200


def test_signing_in_with_the_token(enter):
    """The address that was printed signs in at once, and the token is gone from what is shown."""
    client = enter(TokenAccess(TOKEN))
    answer = client.get("/sign-in", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    page = client.get("/")
    assert page.status_code == 200
    assert TOKEN not in page.text


def test_two_servers_of_one_machine(enter):
    """A browser keeps cookies by host, whatever the port: each server's have names of their own."""
    one, other = (TokenAccess(token) for token in (TOKEN, TOKEN[::-1]))
    assert one.cookie_name == TokenAccess(TOKEN).cookie_name != other.cookie_name
    assert TOKEN not in one.cookie_name
    browser = {}
    for access, token in ((one, TOKEN), (other, TOKEN[::-1])):
        port = enter(access)
        port.get("/sign-in", params={"token": token})
        browser |= dict(port.cookies)
    kept = "; ".join(f"{name}={value}" for name, value in browser.items())
    for access in (one, other):
        assert enter(access, Cookie=kept).get("/").status_code == 200


def test_signing_in_comes_back(enter):
    """Whoever followed a link is led to the form, and from there to what the link meant."""
    client = enter(TokenAccess(TOKEN))
    page = client.get("/metrics?q=a%20b")
    assert page.status_code == 401
    assert 'href="/sign-in?next=%2Fmetrics%3Fq%3Da%2520b"' in page.text
    form = client.get("/sign-in?next=%2Fmetrics%3Fq%3Da%2520b")
    assert 'name="next" value="/metrics?q=a%20b"' in form.text
    answer = client.post("/sign-in", data={"token": TOKEN, "next": "/metrics?q=a%20b"})
    assert answer.headers["location"] == "/metrics?q=a%20b"


@pytest.mark.parametrize("given", ["", "wrong", TOKEN.upper(), TOKEN + "\u00fc"])
def test_signing_in_with_something_else(given, enter):
    """The form says so, and still knows what was meant; nobody is signed in."""
    client = enter(TokenAccess(TOKEN))
    for answer in (
        client.post("/sign-in", data={"token": given, "next": "/runs"}),
        client.get("/sign-in", params={"token": given, "next": "/runs"}),
    ):
        assert answer.status_code == 401
        assert "This is not the token" in answer.text
        assert 'name="next" value="/runs"' in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "page",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "evil",
        "/a\r\nX-Evil: 1",
        "/\t/e",
    ],
)
def test_signing_in_leads_nowhere_else(page, enter):
    """A link to the form cannot send whoever signs in to another site."""
    client = enter(TokenAccess(TOKEN))
    answer = client.post("/sign-in", data={"token": TOKEN, "next": page})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "x-evil" not in answer.headers


# -- somebody without a right ---------------------------------------------------------------------


def test_somebody_without_any_right(enter, nights):
    """Every address about a pipeline is refused before anything is read; the rest is empty."""
    client = enter(Rights())
    assert codes(client, ABOUT_ONE, SHOWN) == all_of(403, ABOUT_ONE)
    assert codes(client, ABOUT_ONE, "never-heard-of") == all_of(403, ABOUT_ONE)
    for one in ABOUT_ALL:
        answer = ask(client, one)
        assert answer.status_code == 200
        assert SHOWN not in answer.text.replace(nights.store.url, "")
        assert HIDDEN not in answer.text


def test_a_viewer_reads_and_does_not_act(enter, nights):
    """Reading is enough for every page, and for no act."""
    before = keys(nights.store)
    client = enter(Rights(readable=frozenset({SHOWN})))
    allowed = [*ABOUT_ALL, *READING]
    refused = {name: code for name, code in codes(client, allowed).items() if code >= 400}
    assert set(refused) <= _LANDINGS
    assert codes(client, ACTING) == all_of(403, ACTING)
    assert keys(nights.store) == before


_LANDINGS = {
    "GET /airflow/{pipeline:plain}/{dag_run}",
    "GET /airflow/{pipeline:plain}/{dag_run}/{task}/{map_index}",
}  # no run of the examples is Airflow's


def test_what_is_hidden_is_nowhere(enter):
    """Who may see one pipeline finds no trace of the other: no list, choice, reader or search."""
    client = enter(Rights(readable=frozenset({SHOWN}), actable=frozenset({SHOWN})))
    assert codes(client, ABOUT_ONE, HIDDEN) == all_of(403, ABOUT_ONE)
    for one in [*ABOUT_ALL, *READING]:
        for query in ({}, {name: EXAMPLES.get(name, "score") for name in NAMED}):
            text = ask(client, one, params=query).text
            assert HIDDEN not in text, (one.path, query)
            assert SECRET.lower() not in text.lower(), (one.path, query)


def test_no_query_leads_to_what_is_hidden(enter, nights):
    """Names in a query are held against the same rights as names in a path."""
    client = enter(Rights(readable=frozenset({SHOWN})))
    ways = [HIDDEN, nights.prefixes[HIDDEN, ""], f"{HIDDEN}/2013-03-01/run-0/score/1"]
    for one in [*ABOUT_ALL, *READING]:
        for way in ways:
            text = ask(client, one, params=dict.fromkeys(NAMED, way)).text
            assert SECRET.lower() not in text.lower(), (one.path, way)
            assert "nothing to hide" not in text or one.kind is not View


def test_no_suggestion_names_what_is_hidden(enter):
    """Where a name is unknown, what it could have meant is told of what one may see."""
    almost = HIDDEN[:-1]
    client = enter(Rights(readable=frozenset({SHOWN, almost})))
    for one in READING:
        answer = ask(client, one, almost)
        assert HIDDEN not in answer.text, one.path
    assert "no pipeline" in client.get(f"/pipelines/{almost}").text


# -- names and paths ------------------------------------------------------------------------------

RUN_PAGE = f"/runs/{SHOWN}/2013-03-01/run-0/score/1"


@pytest.mark.parametrize(
    "path",
    [
        RUN_PAGE.replace("shown", "~73hown"),  # the same name, written in another way
        RUN_PAGE.replace("shown", "s~2Fhown"),
        RUN_PAGE.replace("shown", "shown~2F..~2Fhushhush"),
        RUN_PAGE.replace("shown", "shown~ff"),
        RUN_PAGE.replace("shown", "shown~"),
        RUN_PAGE.replace("shown", "shown~7e"),
        RUN_PAGE.replace("shown", "x" * 300),
        RUN_PAGE.replace("2013-03-01", "~2E~2E"),
        RUN_PAGE.replace("2013-03-01", ".."),
        RUN_PAGE.replace("2013-03-01", "%2e%2e"),
        RUN_PAGE.replace("2013-03-01", "%2e"),
        RUN_PAGE.replace("2013-03-01", "2013%2f03"),
        RUN_PAGE.replace("2013-03-01", "2013%5c03"),
        RUN_PAGE.replace("2013-03-01", "2013%0003"),
        RUN_PAGE.replace("2013-03-01", "2013%252f03"),
        RUN_PAGE.replace("2013-03-01", "a" * 5000),
        RUN_PAGE.replace("score/1", "score/0"),
        RUN_PAGE.replace("score/1", "score/01"),
        RUN_PAGE.replace("score/1", "score/-1"),
        RUN_PAGE.replace("score/1", "score/" + "9" * 5000),
        RUN_PAGE.replace("score/1", "score/%31%20"),
        RUN_PAGE.replace("score/1", "score/\u0661"),
        RUN_PAGE + "//",
        "/" + RUN_PAGE,
        "/runs//2013-03-01/run-0",
        "/RUNS" + RUN_PAGE.removeprefix("/runs"),
        RUN_PAGE + "?pipeline=hushhush&member=../../hushhush",
    ],
)
def test_a_name_has_one_way_to_be_written(path, enter):
    """Other spellings, ways up and very long names find nothing, and break nothing."""
    client = enter(OwnerAccess("Ada"))
    answer = client.get(path)
    assert answer.status_code == (200 if "?" in path else 404)
    assert SECRET not in answer.text


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "OPTIONS"])
def test_other_methods(method, enter, nights):
    """Addresses are read with GET and HEAD, or acted on with POST."""
    before = keys(nights.store)
    client = enter(OwnerAccess("Ada"))
    assert {client.request(method, one.of(SHOWN)).status_code for one in ADDRESSES} == {405}
    assert keys(nights.store) == before


def test_nothing_acts_by_the_wrong_method(enter, nights):
    """An act is no link, and no header or field turns a reading request into one."""
    before = keys(nights.store)
    client = enter(OwnerAccess("Ada"))
    for header in ({}, {"X-HTTP-Method-Override": "POST"}, {"X-Method-Override": "POST"}):
        for one in ACTING:
            path = f"{one.of(SHOWN)}?_method=POST&text=x&verdict=approve"
            assert client.get(path, headers=header).status_code == 405
            assert client.head(path, headers=header).status_code == 405
        for one in READING:
            assert client.post(one.of(SHOWN), data={"_method": "GET"}).status_code == 405
    assert keys(nights.store) == before


def test_a_wrong_method_is_told_the_right_ones(enter):
    """An answer names what is allowed, and says of a page that it takes no form."""
    client = enter(OwnerAccess("Ada"))
    for one in READING:
        answer = client.post(one.of(SHOWN))
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
        assert "takes no form" in answer.text
    for one in ACTING:
        answer = client.get(one.of(SHOWN))
        assert answer.headers["allow"] == "POST"
        assert "for the form of a page" in answer.text
    assert client.post("/static/style.css").headers["allow"] == "GET, HEAD"


# -- forms that others made -----------------------------------------------------------------------

OURS = form_proof(KEY, SESSION_ID, "Ada")
COMPLETE = {"verdict": "nonsense", "text": "", "comment": ""}  # passes the door, and does nothing


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {"Cookie": f"{SESSION}={SESSION_ID}"}),
        ({"proof": ""}, {"Cookie": f"{SESSION}={SESSION_ID}"}),
        ({"proof": "0" * 64}, {"Cookie": f"{SESSION}={SESSION_ID}"}),
        ({"proof": "\u00fc"}, {"Cookie": f"{SESSION}={SESSION_ID}"}),
        ({"proof": OURS}, {}),
        ({"proof": OURS}, {"Cookie": f"{SESSION}={'t' * 32}"}),
        ({"proof": OURS}, {"Cookie": f"{SESSION}="}),
        ({"proof": form_proof(KEY, "", "Ada")}, {}),
        ({"proof": form_proof(KEY, "", "Ada")}, {"Cookie": f"{SESSION}="}),
        ({"proof": form_proof(KEY, SESSION_ID, "Eve")}, {"Cookie": f"{SESSION}={SESSION_ID}"}),
        ({"proof": form_proof(b"x", SESSION_ID, "Ada")}, {"Cookie": f"{SESSION}={SESSION_ID}"}),
        *(
            ({"proof": OURS}, {"Cookie": f"{SESSION}={SESSION_ID}", "Sec-Fetch-Site": site})
            for site in ("cross-site", "same-site", "")
        ),
    ],
)
def test_a_form_of_another_site(form, headers, enter, nights):
    """A form acts only if a page of ours was shown with it, to this user and in this browser."""
    before = keys(nights.store)
    client = enter(OwnerAccess("Ada"))
    for one in ACTING:
        answer = client.post(one.of(SHOWN), data=COMPLETE | form, headers=headers)
        assert (one.path, answer.status_code) == (one.path, 403)
    assert keys(nights.store) == before


@pytest.mark.parametrize("site", [None, "same-origin", "none"])
def test_a_form_of_our_own_page(site, enter):
    """The proof that a page holds opens the door, also in a browser that tells no origin."""
    client = enter(OwnerAccess("Ada"), Cookie=f"{SESSION}={SESSION_ID}")
    headers = {"Sec-Fetch-Site": site} if site else {}
    for one in ACTING:
        answer = client.post(one.of(SHOWN), data=COMPLETE | {"proof": OURS}, headers=headers)
        assert (one.path, answer.status_code) == (one.path, 409)  # let in; it asked for nothing


def test_a_page_gives_the_proof_that_its_forms_need(enter):
    """The session is set with the page, for this site only, out of reach of any script."""
    client = enter(OwnerAccess("Ada"))
    answer = client.get("/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    assert len(client.cookies[SESSION]) == 32
    assert "set-cookie" not in client.get("/").headers


def test_a_program_needs_no_proof_but_its_token(enter):
    """A header is sent by programs alone; a browser that sends one for another site is refused."""
    client = enter(TokenAccess(TOKEN), Authorization=f"Bearer {TOKEN}")
    for one in ACTING:
        path = one.of(SHOWN)
        assert client.post(path, json=COMPLETE).status_code == 409  # let in, as above
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert client.post(path, json=COMPLETE, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"x" * 140_000, {}, 413),
        (b"[" * 60_000, {"Content-Type": "application/json"}, 400),
        (b"{", {"Content-Type": "application/json"}, 400),
        (b'{"text": "\\ud800"}', {"Content-Type": "application/json"}, 400),
        (b"\xff", {"Content-Type": "application/json"}, 400),
        (b"[1]", {"Content-Type": "application/json"}, 409),
        (b'{"text": 7}', {"Content-Type": "application/json"}, 409),
        (b"a=1" + b"&a=1" * 60, {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        (b"--x", {"Content-Type": "multipart/form-data"}, 400),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nc\r\n--x--\r\n',
            {"Content-Type": "multipart/form-data; boundary=x"},
            400,
        ),
        (b"text=%ff%00", {"Content-Type": "application/x-www-form-urlencoded"}, 409),
    ],
)
def test_bodies_that_are_no_forms(body, headers, code, enter):
    """They are refused in words, whatever their size and shape."""
    client = enter(TokenAccess(TOKEN), Authorization=f"Bearer {TOKEN}")
    for one in ACTING:
        assert client.post(one.of(SHOWN), content=body, headers=headers).status_code == code


@pytest.mark.parametrize("length", ["\u00b2", "-1", "9" * 30, "1e3", ""])
def test_lengths_that_are_none(length, enter):
    """A body whose length is not told, or told in a strange way, is not read."""
    client = enter(TokenAccess(TOKEN), Authorization=f"Bearer {TOKEN}")
    headers = {"Content-Length": length.encode("latin-1")}
    assert client.post(ACTING[0].of(SHOWN), content=b"a", headers=headers).status_code == 413


# -- addresses that open without a cookie ---------------------------------------------------------


def part_of(pipeline):
    """Return the path of a part of a notebook."""
    return PARTS[0].of(pipeline)


def test_a_signed_address_opens_its_own_part_alone(enter, monkeypatch):
    """It opens as long as it holds: not changed, not for another part, and by no header."""
    client = enter(TokenAccess(TOKEN))
    own = signed(KEY, part_of(SHOWN))
    query = own.partition("?")[2]
    assert client.get(own).status_code == 404  # let in; this notebook has no such output
    other = part_of(HIDDEN)
    for path in (
        f"{other}?{query}",
        f"{other}?{query}&x=/../",
        f"{part_of(SHOWN)}?{query[:-1]}{'1' if query.endswith('0') else '0'}",
        f"{part_of(SHOWN)}?{query.replace('until=', 'until=1')}",
        f"{part_of(SHOWN)}?sign={query[-64:]}",
        f"{part_of(SHOWN)}?until=%00&sign=",
        f"{part_of(SHOWN)}?until=9999999999&sign=%F0%9F%8C%99",
        signed(b"another secret", part_of(SHOWN)),
    ):
        assert client.get(path).status_code == 403
    forged = f"localhost{own}#"
    assert client.get(f"{other}", headers={"Host": forged}).status_code == 403
    monkeypatch.setattr("time.time", lambda: 1e11)
    assert client.get(own).status_code == 403


# -- hosts, headers and what is echoed ------------------------------------------------------------

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", 200),
        ("localhost:8090", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8090", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example/localhost", 421),
        ("localhost@evil.example", 421),
        ("evil.example@localhost", 421),
        ("localhost/../x", 421),
        ("localhost:", 421),
        ("localhost:80:80", 421),
        ("[localhost]", 421),
        ("[", 421),
        ("", 421),
        ("127.0.0.1.", 421),
        ("2130706433", 421),
    ],
)
def test_only_names_of_this_machine(host, code, enter):
    """A name of somebody else's that leads to loopback does not open the owner's pages."""
    client = enter(OwnerAccess("Ada"), hosts=LOCAL)
    for path in ("/", "/api/", "/static/style.css"):
        assert client.get(path, headers={"Host": host}).status_code == code
    forwarded = {"Host": "localhost", "X-Forwarded-Host": "evil.example"}
    assert client.get("/", headers=forwarded).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"Forwarded": "host=evil.example"},
        {"X-Forwarded-Prefix": "/evil.example", "X-Script-Name": "/evil.example"},
        {"X-Original-URL": "/evil.example", "X-Rewrite-URL": "/evil.example"},
    ],
)
def test_no_header_gets_into_an_address(headers, enter):
    """Links and redirects are paths of ours, whatever a request says of itself."""
    client = enter(OwnerAccess("Ada"))
    for one in [*ABOUT_ALL, *READING]:
        answer = ask(client, one, headers=headers)
        assert "evil.example" not in answer.text + str(answer.headers)


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_what_is_asked_comes_back_as_text(enter):
    """No address, query, header or name is ever part of a page but as text."""
    client = enter(OwnerAccess(EVIL), **{USER: EVIL})
    answers = [
        ask(client, one, params=dict.fromkeys(NAMED, EVIL)) for one in [*ABOUT_ALL, *READING]
    ]
    answers += [client.get(f"/{EVIL}"), client.get(f"/airflow/{EVIL}/{EVIL}/{EVIL}/0")]
    answers += [ask(client, one, headers={"Host": "localhost"}) for one in ACTING]
    for answer in answers:
        if answer.headers["content-type"].startswith("text/html"):
            assert "<script>alert" not in answer.text
            assert "<img src=x" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_errors_for_programs_are_json(enter):
    """Below /api every error is told as facts, also where there is no such address."""
    client = enter(TokenAccess(TOKEN))
    for path, code in (("/api/", 401), ("/api/nothing/here", 404), (f"/api{RUN_PAGE}", 401)):
        answer = client.get(path)
        assert answer.status_code == code
        assert json.loads(answer.text)["error"]["code"] == code


def test_a_bug_tells_nothing_of_itself(nights):
    """What went wrong inside is for the log: the page says only that something did."""

    class Broken(OwnerAccess):
        def may_read(self, user, pipeline):
            raise RuntimeError(SECRET, user, pipeline)

    app = make_app(Site.open(nights.store, Broken("Ada")))
    client = TestClient(app, raise_server_exceptions=False)
    answer = client.get(RUN_PAGE)
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert "RuntimeError" in answer.text


@pytest.mark.parametrize("field", ["q", "next", "page"])
def test_no_line_break_gets_into_a_header(field, enter):
    """What a query says cannot add a header to an answer."""
    client = enter(OwnerAccess("Ada"))
    for one in [*ABOUT_ALL, *READING]:
        answer = client.get(f"{one.of(SHOWN)}?{field}=a%0d%0aX-Evil:%201")
        assert "x-evil" not in answer.headers
