"""What may pass of HTML, styles, formulas and pictures that others wrote."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightmill.review.render import pictures, styles
from nightmill.review.render.formula import mathml
from nightmill.review.render.markdown import markdown
from nightmill.review.render.sanitize import clean, words_of
from tests.making_notebooks import picture
from tests.rendered import Page, check_inert

_REL = 'rel="noopener noreferrer nofollow"'


def _whole(body: str) -> Page:
    return Page(f"<main><title></title><style></style><h1></h1>{body}</main>")


@pytest.mark.parametrize(
    ("given_html", "kept"),
    [
        ("<b>a</b><blink>b</blink>", "<b>a</b>b"),
        ("<h1>a</h1><h6>b</h6>", '<h2 dir="auto">a</h2><h6 dir="auto">b</h6>'),
        ('<a href="https://a.b">x</a>', f'<a href="https://a.b" target="_blank" {_REL}>x</a>'),
        ('<a href="#There">x</a>', f'<a href="#u-There" {_REL}>x</a>'),
        ('<td colspan="2" rowspan="99999">x</td>', "x"),
        ('<i class="level0 a:b" id="x y">x</i>', '<i class="u-level0">x</i>'),
        ('<i style="color: RED; position: fixed">x</i>', '<i style="color:red">x</i>'),
        ("<script>x</script><style>x</style>y<!-- z -->", "y"),
        ('<img src="a.png" alt="&lt;b&gt;">', '<img alt="&lt;b&gt;">'),
        (
            "<table><tr><td>1<td>2</table>",
            '<table dir="auto"><tbody><tr><td>1</td><td>2</td></tr></tbody></table>',
        ),
    ],
)
def test_html_keeps_what_is_inert(given_html, kept):
    """Elements, links, names and styles of the list pass; of all else the text is left."""
    assert clean(given_html).html == kept


_HTML = st.lists(
    st.sampled_from(
        [
            "<",
            ">",
            "/",
            "=",
            '"',
            "'",
            " ",
            "a",
            "on",
            "onload=",
            "script",
            "style",
            "svg",
            "math",
            "img",
            "src=",
            "href=",
            "javascript:",
            "<script>",
            "</script>",
            "<style>",
            "</style>",
            "<svg>",
            "</svg>",
            "<math>",
            "<mtext>",
            "<table>",
            "<td>",
            "<p ",
            "<img src=x onerror=a ",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<noscript>",
            "<title>",
            "<a href=",
            "&lt;",
            "&#x3c;",
            "\x00",
            "url(",
            "color:red",
            "}",
            "{",
            "<template>",
            "<form>",
            "x-attr",
            "\n",
            "é",
        ]
    ),
    max_size=40,
).map("".join)


@settings(deadline=None)  # a machine that does other things
@given(_HTML)
def test_no_html_acts(html):
    """Whatever pieces it is made of, nothing is left that could run, load or cover."""
    found = clean(html, "here")

    check_inert(_whole(found.whole()))


@settings(deadline=None)  # a machine that does other things
@given(_HTML)
def test_no_markdown_acts(source):
    """The same holds of Markdown with HTML in it."""
    check_inert(_whole(markdown(source, 10_000)))


@settings(deadline=None)  # a machine that does other things
@given(_HTML)
def test_sanitizing_twice_is_sanitizing_once(html):
    """What has passed passes again but for names: nothing turns into something else."""
    once = clean(html).html

    assert clean(once).html.replace("u-u-", "u-").count("<") == once.count("<")


def test_what_is_missing_is_told():
    """Pictures of other places are named with links, and scripts are said not to run."""
    found = clean('<img src="https://a.b/c.png"><img src="x/y.png"><script>1</script>').whole()

    assert 'Not loaded from elsewhere: <a href="https://a.b/c.png" target="_blank"' in found
    assert "<code>x/y.png</code>" in found
    assert "Its scripts do not run" in found


def test_words_are_what_can_be_read():
    """The words of HTML are its text, without elements and references."""
    assert words_of("<p>a &lt; <b>b</b><script>c</script></p>") == "a < b"


# -- styles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("color: #F00; Background-Color:rgb(1, 2, 3)", "color:#f00;background-color:rgb(1, 2, 3)"),
        (
            "background: linear-gradient(90deg, #d65f5f 50.0%, transparent 50.0%)",
            "background:linear-gradient(90deg, #d65f5f 50.0%, transparent 50.0%)",
        ),
        ("color: red !important", "color:red"),
        ("position: fixed; top: 0; z-index: 9; content: 'a'; display: none", ""),
        ("background: url(x); background: \\75rl(x); width: expression(1)", ""),
        ("color: var(--bad); width: calc(1px); color: attr(x)", ""),
        ("padding: -5px; margin: 4px; width: 10em", "width:10em"),
        ("color: red\\; position: fixed", ""),
        ("font-family: 'x'; font-family: a, b", "font-family:a, b"),
        ("color", ""),
    ],
)
def test_declarations_pass_by_name_and_value(text, kept):
    """A declaration passes if its property and each part of its value are known to be harmless."""
    assert styles.declarations(text) == kept


@pytest.mark.parametrize(
    ("sheet", "kept"),
    [
        ("#T_1 .a, td {color: red}", "#o #u-T_1 .u-a,#o td{color:red}"),
        (
            "#T tr:nth-child(2) > td:hover {color: red}",
            "#o #u-T tr:nth-child(2) > td:hover{color:red}",
        ),
        ("@import url(x); a {color: red}", ""),
        ("@media print {a {color: red}} b {color: blue}", "#o b{color:blue}"),
        ("a[href^=x] {color: red} a::before {color: red} * {color: red}", ""),
        ("a{color:red}</style><script>", "#o a{color:red}"),
        ("a {} b {position: fixed}", ""),
        ("a, </style> {color: red}", ""),
    ],
)
def test_rules_hold_inside_of_their_output(sheet, kept):
    """A rule passes if all its selectors are plain, and then only for what is inside its output."""
    assert styles.scoped(sheet, "o") == kept


# -- formulas -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tex", "part"),
    [
        ("x^2", "<msup><mi>x</mi><mn>2</mn></msup>"),
        ("\\alpha", "<mi>\u03b1</mi>"),
        ("\\text{a < b}", "a\u00a0&lt;\u00a0b"),
        ("\\frac{1}", None),
        ("\\undefined x", None),
        ("\\left( x", None),
        ("", None),
        ("x" * 3000, None),
    ],
)
def test_formulas_are_drawn_or_told_as_their_source(tex, part):
    """A formula that is understood is MathML; half of one never is."""
    drawn = mathml(tex, block=False)

    assert drawn is None if part is None else part in drawn


@pytest.mark.parametrize("tex", ["\\href{abc}{x}", "\\class{banner}{x}", "\\style{color}{x}"])
def test_formulas_bring_no_names_links_or_styles(tex):
    """What a formula says of links, classes and styles is dropped, and the formula is drawn."""
    drawn = mathml(tex, block=False)

    assert "<mi>x</mi>" in drawn
    assert not any(name in drawn for name in ("href", "class", "style"))


_TEX = st.lists(
    st.sampled_from([*"\\{}^_&<>x1 $", "\\text{", "\\href{", "\\frac", "\\style{", "&lt;"]),
    max_size=30,
).map("".join)


@settings(deadline=None)  # a machine that does other things
@given(_TEX)
def test_no_formula_acts(tex):
    """Whatever the converter makes of it, only elements and attributes of MathML are left."""
    check_inert(_whole(mathml(tex, block=True) or ""))


# -- pictures -------------------------------------------------------------------------------------

_PNG = base64.b64decode(picture(3, 2))
_JPEG = (
    b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 480, 640) + b"\x01" * 9
)
_VP8X = (
    b"RIFF....WEBPVP8X"
    + b"\0" * 8
    + (640 - 1).to_bytes(3, "little")
    + (480 - 1).to_bytes(3, "little")
)
_VP8L = b"RIFF....WEBPVP8L....\x2f" + ((640 - 1) | (480 - 1) << 14).to_bytes(4, "little")
_VP8 = b"RIFF....WEBPVP8 ......." + b"\x9d\x01\x2a" + struct.pack("<HH", 640, 480)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (_PNG, ("image/png", 3, 2)),
        (b"GIF89a" + struct.pack("<HH", 640, 480), ("image/gif", 640, 480)),
        (_JPEG, ("image/jpeg", 640, 480)),
        (_VP8X, ("image/webp", 640, 480)),
        (_VP8L, ("image/webp", 640, 480)),
        (_VP8, ("image/webp", 640, 480)),
        (_PNG[:18], None),
        (b"\xff\xd8\xff\xd8", None),
        (b"RIFF....WEBPnone", None),
        (b"<svg></svg>", None),
        (b"", None),
    ],
)
def test_a_picture_is_told_by_its_first_bytes(data, expected):
    """Kind and size are those in the bytes, whatever the output calls itself."""
    found = pictures.inspect(data)

    assert (found and (found.kind, found.width, found.height)) == expected


@pytest.mark.parametrize(
    "address",
    [
        "data:text/html;base64,PGI+",
        "data:image/png,abc",
        "data:image/png;base64,PGI+",
        "data:image/svg+xml;base64,PGI+",
        f"data:image/png;base64,{picture(60_000, 60_000)}",
        "https://a.b/c.png",
    ],
)
def test_addresses_that_are_no_harmless_picture_are_refused(address):
    """Only bytes that are a picture of a reasonable size may stand in an address."""
    assert pictures.inert_address(address) is None


def test_a_picture_gets_the_type_of_its_bytes():
    """A PNG that calls itself a JPEG is shown as what it is."""
    address = pictures.inert_address(f"data:image/jpeg;base64,{picture()}")

    assert address == f"data:image/png;base64,{picture()}"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (
            "<?xml?><!DOCTYPE svg><svg width='1'></svg>",
            b'<svg xmlns="http://www.w3.org/2000/svg" width',
        ),
        (
            "<svg xmlns='http://www.w3.org/2000/svg'><a xlink:href='#b'/></svg>",
            b"<svg xmlns:xlink=",
        ),
        ("<!DOCTYPE svg [<!ENTITY a 'b'>]><svg/>", None),
        ("no drawing", None),
    ],
)
def test_drawings_are_whole_documents_or_refused(text, start):
    """SVG gets the namespaces that a browser asks of a picture; entities are refused."""
    drawn = pictures.drawing(text)

    assert drawn is None if start is None else drawn.startswith(start)
