"""Secrets leave no text: every spelling, every look, every way to cut a stream into pieces."""

from __future__ import annotations

import base64
import html
import json
import re
import string
import time
from hashlib import sha256
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nightmill.step.redaction import TOKEN, Redactor

SECRET = "s3cr3t/p+ss\"w'rd&x"
KEY_LINES = [
    "MIIEpAIBAAKCAQEAx3n0Vq8bTfWlJ2c9Yp7RzQkHsD5uEoGmNvXaLiBtCwKyZr1P",
    "q8Zt4Lr0UeXnVb6Jm2WcYs9HdKfGaTiPoQ3xRlEz7CvN5BkMyD1wAjShIgOuF0pe",
    "Zr1PKyCwBtLiXaNvGmEoD5us+/==",
]
PEM = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *KEY_LINES, "-----END RSA PRIVATE KEY-----"])
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1g"
# Joined here from parts, so that no scanner of sources takes them for real ones.
TOKENS = {
    "AWS": "AKIA" + "IOSFODNN7EXAMPLE",
    "AWS, temporary": "ASIA" + "Y34FZKBOKMUTVV7A",
    "GitHub": "ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a",
    "GitHub, fine-grained": "github" + "_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "GitLab": "glpat" + "-abcDEF123456_789-xyz",
    "Slack": "xoxb" + "-1234567890-abcdefghij",
    "Google": "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "JSON Web Token": JWT,
    "Hugging Face": "hf" + "_abcdefghijklmnopqrstuvwxyzABCDEF12",
    "Databricks": "dapi" + "0123456789abcdef0123456789abcdef",
}

known = Redactor({"DB_PASSWORD": SECRET})


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        repr(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
        repr(SECRET.encode())[2:-1],
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        re.sub("%..", lambda code: code.group().lower(), quote_plus(SECRET)),
        html.escape(SECRET),
        html.escape(SECRET, quote=False),
        "\x1b[32m".join(SECRET),
        SECRET[:7] + "\x1b[0m\x1b[38;5;28m" + SECRET[7:],
    ],
)
def test_each_spelling_is_redacted(spelling):
    """A secret is found however URLs, JSON, HTML, reprs and colours spell it, and named."""
    redacted = known.text(f"before {spelling} after")
    plain = redacted.replace("\x1b[32m", "").replace("\x1b[0m\x1b[38;5;28m", "")
    assert plain == "before [redacted: DB_PASSWORD] after"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "u", "u:", "us:", "user:"])
@pytest.mark.parametrize("secret", [SECRET, "åß∂ƒ©˙∆", "k?>~?>~?>~ÿÿ", "short6"])
def test_base64_is_redacted_wherever_it_begins(encode, before, secret):
    """At each of the three alignments, in both alphabets, base64 gives the secret away no more."""
    redactor = Redactor({"KEY": secret})
    encoded = encode(f"{before}{secret}@host".encode()).decode()
    redacted = redactor.text(f"x={encoded}.")
    assert "[redacted: KEY]" in redacted
    left = redacted.replace("[redacted: KEY]", "").removeprefix("x=").removesuffix(".")
    # What stays tells at most two characters' bits of the secret's first and last byte.
    assert len(left) <= len(encode(before.encode())) + len(encode(b"@host")) + 2


def test_base64_folded_into_lines_is_redacted():
    """The command base64 and e-mail fold long text into lines; that hides nothing."""
    folded = base64.encodebytes(b"user:" + PEM.encode()).decode()
    redacted = Redactor({"KEY": PEM}).text(f"$ base64\n{folded}$ next\n")
    assert redacted.count("[redacted: KEY]") == 1
    assert not any(line in redacted for line in folded.splitlines()[1:-1])
    assert redacted.endswith("$ next\n")


@pytest.mark.parametrize("line", KEY_LINES)
def test_each_line_of_a_key_is_redacted(line):
    """A line of a private key that a log prints by itself is redacted by the key's name."""
    assert Redactor({"SSH_KEY": PEM}).text(f"INFO {line}\n") == "INFO [redacted: SSH_KEY]\n"


def test_a_line_that_others_have_too_is_kept():
    """The frame of a key and the brackets of a document are no secrets by themselves."""
    redactor = Redactor({"SSH_KEY": PEM, "DOCUMENT": '{\n  "type": "service_account"\n}'})
    for line in ("-----END RSA PRIVATE KEY-----", '  "type": "service_account"', "{"):
        assert redactor.text(line) == line


def test_members_of_a_document_are_redacted():
    """Of a JSON secret, the members that hold keys are redacted when they are printed alone."""
    document = {"type": "service_account", "private_key": PEM, "client": {"api_token": "tk-12345"}}
    redactor = Redactor({"GOOGLE": json.dumps(document)})
    assert redactor.text("it is tk-12345") == "it is [redacted: GOOGLE]"
    assert redactor.text(KEY_LINES[1]) == "[redacted: GOOGLE]"
    assert redactor.text("service_account") == "service_account"


def test_a_secret_cut_short_is_redacted():
    """Where a table shows only the first half or more of a long secret, that is redacted too."""
    secret = "4b8f0e6d2a9c7153e1f04d6b8a2c9e7f5d3b1a0c"
    assert Redactor({"KEY": secret}).text(f"{secret[:30]}...") == "[redacted: KEY]..."


@pytest.mark.parametrize(
    "value", ["a7q", "test", "True", "1234", "12345", "store", "VAULT", "aaaaaaaa", "redacted"]
)
def test_what_is_too_common_is_named_and_not_redacted(value):
    """A value that would garble all text is left, and its name is told."""
    redactor = Redactor({"WEAK": value, "STRONG": "x7!kq"})
    assert redactor.weak == ("WEAK",)
    assert redactor.text(f"{value} x7!kq") == f"{value} [redacted: STRONG]"
    (warning,) = redactor.warnings()
    assert warning.startswith("WEAK: too short or too common")


def test_there_is_no_warning_without_need():
    """Strong secrets, and the identifier of a key, are worth no warning."""
    assert list(Redactor({"DB": SECRET, "AWS_ACCESS_KEY_ID": "admin"}).warnings()) == []


def test_a_name_is_no_secret():
    """A secret whose value is the name of another leaves the markers readable."""
    redactor = Redactor({"A_TOKEN": "B_TOKEN", "B_TOKEN": "9f8e7d6c"})
    assert redactor.weak == ("A_TOKEN",)
    assert redactor.text("9f8e7d6c") == "[redacted: B_TOKEN]"
    document = Redactor({"C": '{"api_token": "D_SECRET"}', "D_SECRET": "9f8e7d6c"})
    assert document.text("9f8e7d6c") == "[redacted: D_SECRET]"


def test_a_short_secret_is_no_chance_find_in_a_picture():
    """Four characters that turn up in a picture's data are no reason to break the picture."""
    data = "iVBORw0KGgoAAAANSUhEUgAA" * 20
    picture = f"{data}x7Kq{data}"
    redactor = Redactor({"PIN": "x7Kq"})
    assert redactor.text(picture) == picture
    assert redactor.text("xx7Kqx") == "x[redacted: PIN]x"


# -- what looks like a secret ---------------------------------------------------------------------


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
@pytest.mark.parametrize("around", ["{}", "see {} here", "k='{}'", r"\n{}\n", "a%20{}", "{}\n"])
def test_tokens_are_known_by_their_looks(token, around):
    """A token that no variable holds is redacted wherever it stands."""
    assert Redactor({}).text(around.format(token)) == around.format(TOKEN)


ASSIGNED = {
    'password="hunter-two"': f'password="{TOKEN}"',
    "db_password = 'hunter-two'": f"db_password = '{TOKEN}'",
    '{"api_key": "hunter-two"}': f'{{"api_key": "{TOKEN}"}}',
    r"{\"apiKey\": \"hunter-two\"}": rf"{{\"apiKey\": \"{TOKEN}\"}}",
    "Password: hunter2 was taken": f"Password: {TOKEN} was taken",
    "host=h;Pwd=hunter;x=1": f"host=h;Pwd={TOKEN};x=1",
    "AccountKey=a1b2c3d4==;": f"AccountKey={TOKEN};",
    "https://h/p?token=hunter&x=1": f"https://h/p?token={TOKEN}&x=1",
    "https://h/p?a=1&X-Amz-Signature=deadbeef": f"https://h/p?a=1&X-Amz-Signature={TOKEN}",
    "Authorization: Bearer abcd.ef": f"Authorization: Bearer {TOKEN}",
    "'authorization': 'Basic dTpw'": f"'authorization': 'Basic {TOKEN}'",
    "bearer 0123456789abcdef": f"bearer {TOKEN}",
    "postgresql://me:hunter@db/x": f"postgresql://me:{TOKEN}@db/x",
    "https://0123456789abcdef0123@git/x": f"https://{TOKEN}@git/x",
    f"x\n{PEM}\ny": f"x\n{TOKEN}\ny",
    repr(PEM): f"'{TOKEN}'",
}


@pytest.mark.parametrize(("text", "redacted"), ASSIGNED.items())
def test_values_are_known_by_what_they_are_given_to(text, redacted):
    """What follows `password=` and its like is redacted, and nothing around it."""
    assert Redactor({}).text(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        'password = os.environ["DB_PASSWORD"]',
        "connect(user=user, password=password)",
        "connect(password=get_password(2))",
        "password=secrets1[name]",
        'password="{password}"',
        "password: ***",
        'url = f"postgresql://{user}:{password}@{host}/db"',
        'headers = {"Authorization": f"Bearer {token}"}',
        'api_key = "secret://API_KEY"',
        'api_key = __import__("os").environ["API_KEY"]',
        'pad_token = "[PAD]"',
        "the key: value pairs of 2013",
        "http://localhost:8888/lab/@jupyter",
        "ssh://git@github.com/x",
        "s3://bucket/key=2013-03-01/part-0.parquet",
        "https://h/p?key=value&sort_key=flight_id&design=flat",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "AKIA is how they begin, ghp_ too",
    ],
)
def test_an_authors_code_stays_readable(text):
    """What only speaks of secrets holds none, and stays as it is."""
    assert Redactor({"DB": SECRET}).text(text) == text


def test_a_known_secret_gives_its_name_to_what_looks_like_one():
    """Where a look and a known value overlap, the reader is told the name."""
    text = f"Authorization: Bearer abc{JWT[:9]}; password='{SECRET}'"
    redactor = Redactor({"HALF": JWT[:9], "DB": SECRET})
    assert (
        redactor.text(text) == "Authorization: Bearer [redacted: HALF]; password='[redacted: DB]'"
    )


def test_trees_are_redacted_whole():
    """Keys, members, whole numbers and texts of JSON are redacted; the rest stays what it was."""
    redactor = Redactor({"DB": SECRET, "PIN": "48151623"})
    tree = {
        SECRET: [1, 2.5, None, True, f"a {SECRET}"],
        "password": "hunter",
        "api_key": "secret://API_KEY",
        "token_count": "12",
        "pin": 48151623,
        "inner": {"access_token": ""},
    }
    assert redactor.tree(tree) == {
        "[redacted: DB]": [1, 2.5, None, True, "a [redacted: DB]"],
        "password": TOKEN,
        "api_key": "secret://API_KEY",
        "token_count": "12",
        "pin": "[redacted: PIN]",
        "inner": {"access_token": ""},
    }


# -- an environment -------------------------------------------------------------------------------


def test_an_environments_secrets_are_found(tmp_path):
    """By declaration, by name, by value and in the files that variables name."""
    (tmp_path / "db").write_text("from-a-file\n", encoding="utf-8")
    (tmp_path / "aws").write_text(
        "[default]\naws_secret_access_key = Aa1/Bb2+Cc3\nregion = eu-west-1\n", encoding="utf-8"
    )
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "key").write_text("from-a-folder", encoding="utf-8")
    environ = {
        "NIGHTMILL_SECRETS": f"PLAIN,API_*, {mounted}",
        "PLAIN": "declared-plain",
        "API_ONE": "declared-by-prefix",
        "DB_PASSWORD": "by-name-1",
        "AWS_SESSION_TOKEN": "by-name-2",
        "DB_PASSWORD_FILE": str(tmp_path / "db"),
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "aws"),
        "HTTP_PROXY": "http://me:by-value@proxy:3128",
        "PATH": "/usr/bin",
        "PWD": "/home/me",
        "TOKEN_URL": "https://sso/realm",
        "TOKENIZERS_PARALLELISM": "false-or-true",
    }
    redactor = Redactor.of(environ)
    redacted = redactor.tree(
        [
            *("declared-plain", "declared-by-prefix", "by-name-1", "by-name-2", "from-a-file"),
            *("Aa1/Bb2+Cc3", "region = eu-west-1", "by-value", "from-a-folder"),
            *("/usr/bin", "/home/me", "https://sso/realm", "false-or-true", str(tmp_path)),
        ]
    )
    assert redacted == [
        *("[redacted: PLAIN]", "[redacted: API_ONE]", "[redacted: DB_PASSWORD]"),
        *("[redacted: AWS_SESSION_TOKEN]", "[redacted: DB_PASSWORD_FILE]"),
        *("[redacted: GOOGLE_APPLICATION_CREDENTIALS]", "region = eu-west-1"),
        *("[redacted: HTTP_PROXY]", "[redacted: mounted/key]"),
        *("/usr/bin", "/home/me", "https://sso/realm", "false-or-true", str(tmp_path)),
    ]


@pytest.mark.parametrize(
    "file", ["/nowhere/at/all", "/dev/zero", "/proc/self/mem", "relative", "\0"]
)
def test_a_file_that_cannot_be_read_stops_nothing(file):
    """A variable may name what is no file: then it holds no secret."""
    assert Redactor.of({"DB_PASSWORD_FILE": file}).text("as it is") == "as it is"


def test_a_large_file_is_none(tmp_path):
    """A file of megabytes is data, not a secret, and is not held in memory."""
    (tmp_path / "data").write_text("a-line-of-data\n" * 100_000, encoding="utf-8")
    redactor = Redactor.of({"SECRET_FILE": str(tmp_path / "data")})
    assert redactor.text("a-line-of-data") == "a-line-of-data"


# -- properties -----------------------------------------------------------------------------------

secrets = st.text(
    string.ascii_letters + string.digits + "+/&\"'\\ %é", min_size=8, max_size=90
).map(lambda text: f"9{text.strip()}K")
snippets = st.sampled_from(
    [
        *(" ", "\n", "\r", "\r\n", "a", "eyJ", "pass", "password=", '"', "'", "://u:", "@"),
        *("\x1b[", "\x1b[31m", "\x1b", "AK", "IA", "-----", "BEGIN", "Bearer ", "?token="),
        *("...", "é", "=", ";"),
    ]
)
noise = st.lists(st.one_of(snippets, st.text(max_size=8)), max_size=12).map("".join)


def in_pieces(redactor: Redactor, pieces: list[str]) -> list[str]:
    """Write a stream as the engine does: what is held back waits for the next piece."""
    written, waiting = [], ""
    for piece in pieces:
        waiting += piece
        cut = len(waiting) - redactor.held_back(waiting)
        written.append(redactor.text(waiting[:cut]))
        waiting = waiting[cut:]
    return [*written, redactor.text(waiting)]


def cut_up(text: str, places: list[int]) -> list[str]:
    """Cut a text at places that are taken modulo its length."""
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


cuts = st.lists(st.integers(min_value=0, max_value=10_000), max_size=20)


@pytest.mark.parametrize("width", [1, 7, 76, 77, 100])
def test_folded_base64_does_not_come_through_in_pieces(width):
    """A secret that is folded into lines is held back over the ends of its lines."""
    folded = base64.encodebytes(b"ab" + PEM.encode()).decode()
    pieces = [folded[at : at + width] for at in range(0, len(folded), width)]
    out = "".join(in_pieces(Redactor({"KEY": PEM}), ["$ ", *pieces, "done\n"]))
    assert not any(line[4:-4] in out for line in folded.splitlines() if len(line) > 16)
    assert out.endswith("done\n")


@given(secrets, st.lists(noise, min_size=2, max_size=5), cuts, st.randoms())
def test_no_secret_comes_through_in_pieces(secret, texts, places, rnd):
    """Wherever a stream is cut, no spelling of a secret gets through, in one piece or joined."""
    assume(not any(secret in text for text in texts))
    encoded = base64.b64encode(f"u:{secret}".encode()).decode()
    spelled = [secret, quote(secret), json.dumps(secret)[1:-1], "\x1b[1m".join(secret), encoded]
    text = texts[0] + "".join(rnd.choice(spelled) + after for after in texts[1:])
    written = in_pieces(Redactor({"NAME": secret}), cut_up(text, places))
    out = "".join(written)
    for spelling in (*spelled[:4], encoded[4:-4]):
        assert spelling not in out


@given(st.sampled_from([*TOKENS.values(), PEM, repr(PEM)[1:-1]]), noise, noise, cuts)
def test_no_token_comes_through_in_pieces(token, before, after, places):
    """Wherever a stream is cut, what looks like a token gets through no more than uncut."""
    text = f"{before} {token}\n{after}"
    out = "".join(in_pieces(Redactor({}), cut_up(text, places)))
    assert token not in out
    assert not any(line in out for line in KEY_LINES[:2])


@given(st.sampled_from([text for text in ASSIGNED if "\n" not in text]), cuts)
def test_values_given_to_keywords_are_held_in_pieces(text, places):
    """A stream that is cut in the middle of `password=...` is redacted as if it were whole."""
    whole = f"one two {text}\nnext"
    out = "".join(in_pieces(Redactor({}), cut_up(whole, places)))
    assert out == f"one two {ASSIGNED[text]}\nnext"


@given(noise, noise)
def test_what_is_redacted_stays_so(before, after):
    """Redacting twice, as child and supervisor do, changes nothing the second time."""
    once = known.text(f"{before}{SECRET}{after}")
    assert known.text(once) == once


@given(st.text(alphabet=st.characters(exclude_characters=SECRET)))
def test_text_without_secrets_is_unchanged(text):
    """What holds no secret comes back as the same text, and as the same tree."""
    assume(Redactor({}).text(text) == text)
    assert known.text(text) == text
    assert known.tree({"a": [text, 1]}) == {"a": [text, 1]}


@pytest.mark.parametrize("text", ["", "done\n", "loading ", "....", "12%\r", "a b c\n\n"])
def test_finished_text_is_not_held_back(text):
    """Complete lines, words and progress bars are shown at once."""
    assert known.held_back(text) == 0


spaced = Redactor({"PHRASE": 'correct horse "battery" staple', "TEXT": "line one\nline two\nend"})


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("say correct horse ", "correct horse "),
        ('say correct horse \\"bat', 'correct horse \\"bat'),
        ("line one\nline two\n", "line one\nline two\n"),
        ("a line ", "line "),
        ("correct house ", ""),
        ("a\nli\n", ""),
    ],
)
def test_a_secret_of_several_words_is_held_back(text, held):
    """Spaces, quotes and ends of lines inside a secret do not end the wait for the rest."""
    assert text[len(text) - spaced.held_back(text) :] == held


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("x s3cr", "s3cr"),
        ("x s3cr\x1b[3", "s3cr\x1b[3"),
        ("a password: hun", "password: hun"),
        ('k = "eyJhbGci', "eyJhbGci"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n", "-----BEGIN RSA PRIVATE KEY-----\nMII\n"),
        ("-----BEGIN CERTIFICATE-----\nMII\n", ""),
    ],
)
def test_what_may_become_a_secret_is_held_back(text, held):
    """The beginning of a secret waits for its end."""
    assert text[len(text) - known.held_back(text) :] == held


@pytest.mark.parametrize(
    "unit", ["epoch 12 loss 0.123 key\n", "AKIA", "password=", "eyJ", "://", "abcdef0123456789+/"]
)
def test_time_is_linear(unit):
    """Ten times the text takes about ten times as long, whatever it is made of."""
    redactor = Redactor({f"T{n}": sha256(str(n).encode()).hexdigest() for n in range(10)})

    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        begun = time.process_time()
        redactor.text(text)
        redactor.held_back(text)
        return time.process_time() - begun

    seconds(50_000)
    assert seconds(1_000_000) < 40 * seconds(50_000) + 0.1
