"""Takes out of HTML whatever is not inert: default deny, by nh3, and no name of the page's own.

nh3 parses as browsers do and writes anew, so that what it lets pass cannot become another thing.
Our own filter on its attributes leaves links only to the web, to mail and inside the page, pictures
only from the notebook itself, and no more of styles than `styles` knows. Scripts are not shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import unescape

import nh3

from nightmill.review.render import pictures, styles
from nightmill.review.render.markup import escape, note, shortened, words
from nightmill.spec.words import amount

_TAGS = words(
    "a abbr b bdi bdo blockquote br caption center cite code col colgroup dd del details dfn "
    "div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre "
    "progress q rp rt ruby s samp small span strike strong sub summary sup table tbody td tfoot "
    "th thead time tr tt u ul var wbr"
)
_WITH_CONTENT = words(  # what is inside of these is no text for people
    "script style svg math noscript template title iframe object embed applet audio video "
    "canvas select textarea button noembed noframes xmp plaintext frameset head"
)
_ATTRIBUTES = {
    "*": {"class", "style", "id", "dir", "lang", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "td": {"colspan", "rowspan", "align", "valign", "headers"},
    "th": {"colspan", "rowspan", "align", "valign", "scope"},
    "tr": {"align"},
    "col": {"span"},
    "colgroup": {"span"},
    "ol": {"start"},
    "li": {"value"},
    "details": {"open"},
    "progress": {"value", "max"},
    "time": {"datetime"},
}
_SET = {"a": {"target": "_blank"}} | {
    tag: {"dir": "auto"} for tag in words("p li h1 h2 h3 h4 h5 h6 blockquote table pre")
}
_NUMBERS = words("colspan rowspan span start value max width height")
_NUMBER = re.compile(r"\d{1,3}(?:\.\d{1,6})?%?", re.ASCII)
_WORD = re.compile(r"[\w:.+ -]{0,64}", re.ASCII)
_WORDS = words("dir lang align valign scope headers datetime open")
_TO_WEB = re.compile(r"(?:https?://|mailto:)[^\x00-\x20]+", re.IGNORECASE)
_IN_PAGE = re.compile(r"#([^\s\"<>]{1,200})")

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})")
_UNNESTED = words(  # elements without content, and those that end where the next begins
    "area base br col embed hr img input link meta source track wbr p li dt dd td th tr tbody "
    "thead tfoot colgroup option optgroup caption"
)
_DEEPEST = 200  # parsers take quadratic time for more, and nobody writes it
_MOST_REFERENCES = 200_000  # of characters, such as &lt; each takes microseconds
_LONGEST_TAG = 8192  # and the text behind it: time is quadratic in the attributes of one element
_SMALL = 1 << 19  # below it, even one element with nothing but attributes is read in a second
_MOST_CHARS = 4 << 20
_HEADING = re.compile(r"<(/?)h([1-5])(?=[ >])")
_LINK = re.compile(r"<a ([^<>]*)>")
_EMPTY_LINK = re.compile(r"<a [^<>]*></a>")
_EMPTY_HEAD = re.compile(r"<th([^<>]*)>((?:\s|&nbsp;)*)</th>")  # the corner of every data frame
_NEW_TAB = ' target="_blank"'
_MARKUP = re.compile(r"<[^<>]*>")
_SEEN = ("<img", "<hr", "<progress")
_MOST_ADDRESSES = 5

Attachments = Mapping[str, str]
"""Addresses of the pictures that a cell brings along, by their names."""


@dataclass(frozen=True)
class Clean:
    """HTML that is inert, whether there is nothing to see, and what was taken out of it."""

    html: str
    is_empty: bool = False
    styled: bool = False
    scripted: bool = False
    elsewhere: tuple[str, ...] = ()
    left_out: str = ""

    def whole(self) -> str:
        """Return it with a line that says what is missing."""
        return self.html + missing(self)


@dataclass
class _Filter:
    """What the attributes of one piece of HTML may be; gathers what was refused."""

    attachments: dict[str, str]
    elsewhere: dict[str, None] = field(default_factory=dict)  # as a set that keeps its order
    styled: bool = False

    def __call__(self, tag: str, name: str, value: str) -> str | None:
        if name == "href":
            return _address(value)
        if name == "src":
            return self._source(value)
        return self._plain(tag, name, value)

    def _plain(self, tag: str, name: str, value: str) -> str | None:
        if name == "style":
            kept = styles.declarations(value)
            self.styled |= "color" in kept or "background" in kept
            return kept or None
        if name == "class":
            return styles.classes(value) or None
        if name == "id":
            return styles.identity(value) or None
        if name in _NUMBERS and tag != "time":
            return value if _NUMBER.fullmatch(value) else None
        if name in _WORDS:
            return value if _WORD.fullmatch(value) else None
        return value

    def _source(self, value: str) -> str | None:
        place = value.strip()
        if place.startswith("attachment:"):
            return self.attachments.get(place.removeprefix("attachment:"))
        if place[:5].lower() == "data:":
            return pictures.inert_address(place)
        self.elsewhere[place] = None
        return None


def clean(
    html: str,
    scope: str = "",
    *,
    attachments: Attachments | None = None,
    most_chars: int = _MOST_CHARS,
) -> Clean:
    """Return HTML without anything that acts, loads, covers or is named like a part of the page.

    The rules of its style sheets hold inside the element with the id `scope`, else they are gone.
    HTML that is longer than the limit without its scripts and pictures, or that no parser could
    read in good time, is left out, and `left_out` says why.
    """
    html, scripts = _cut_out("script", html)
    html, sheet = _cut_out("style", html)
    allowed = _Filter(dict(attachments or {}))
    html = pictures.lifted(html, allowed.attachments)
    if why := _hopeless(html, most_chars):
        return Clean("", left_out=why)
    html = pictures.drawings_as_pictures(html) if "<svg" in html else html
    kept = _sanitized(html, allowed)
    rules = styles.scoped(sheet, scope) if scope and sheet else ""
    return Clean(
        html=f"<style>{rules}</style>{kept}" if rules else kept,
        is_empty=_is_empty(kept),
        styled=allowed.styled or "color" in rules or "background" in rules,
        scripted=bool(scripts),
        elsewhere=tuple(allowed.elsewhere),
    )


def words_of(html: str) -> str:
    """Return the text of some HTML; it is text, and no HTML any more."""
    return unescape(nh3.clean(html, tags=set(), clean_content_tags=set(_WITH_CONTENT))).strip()


def missing(found: Clean) -> str:
    """Say which pictures of other places were not loaded, and that scripts do not run."""
    shown = [_elsewhere(one) for one in found.elsewhere[:_MOST_ADDRESSES]]
    more = len(found.elsewhere) - len(shown)
    shown += [f"and {more} more"] if more > 0 else []
    if found.left_out:
        return note(found.left_out)
    told = f"Not loaded from elsewhere: {', '.join(shown)}." if shown else ""
    told += " Its scripts do not run on this page." if found.scripted else ""
    return f'<p class="note">{told.strip()}</p>' if told else ""


def _elsewhere(address: str) -> str:
    text = escape(shortened(address, 200))
    if _TO_WEB.fullmatch(address) is None:
        return f"<code>{text}</code>"
    return (
        f'<a href="{escape(address)}" target="_blank" rel="noopener noreferrer nofollow">{text}</a>'
    )


def _sanitized(html: str, allowed: Callable[[str, str, str], str | None]) -> str:
    kept = nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags=set(_WITH_CONTENT),
        attributes=_ATTRIBUTES,
        attribute_filter=allowed,
        url_schemes={"http", "https", "mailto", "data", "attachment"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values=_SET,
    )
    kept = _EMPTY_HEAD.sub(r"<td\1>\2</td>", _EMPTY_LINK.sub("", kept))
    return _LINK.sub(_own_tab, _HEADING.sub(_lower, kept))


def _address(value: str) -> str | None:
    place = value.strip()
    if inside := _IN_PAGE.fullmatch(place):
        return f"#{styles.PREFIX}{inside[1]}"
    return place if _TO_WEB.fullmatch(place) else None


def _own_tab(found: re.Match[str]) -> str:
    """Let links inside the page stay in its tab. nh3 writes < and > in no attribute."""
    return found[0].replace(_NEW_TAB, "") if 'href="#' in found[1] else found[0]


def _lower(found: re.Match[str]) -> str:
    """Put headings below the page's own."""
    return f"<{found[1]}h{int(found[2]) + 1}"


def _cut_out(name: str, html: str) -> tuple[str, str]:
    """Take elements out with what is in them, and return that too.

    It is no parser: what is cut by mistake is only missing, and all that is left is sanitized.
    """
    lowered, kept, contents, place = html.lower(), [], [], 0
    if len(lowered) != len(html):  # some capitals of other alphabets
        return html, ""
    while (start := lowered.find(f"<{name}", place)) >= 0:
        begin, end = lowered.find(">", start), lowered.find(f"</{name}", start)
        if begin < 0 or end < begin:
            break
        kept.append(html[place:start])
        contents.append(html[begin + 1 : end])
        place = lowered.find(">", end) + 1 or len(html)
    return "".join([*kept, html[place:]]), "\n".join(contents)


def _is_empty(html: str) -> bool:
    has_picture = any(one in html for one in _SEEN)
    return not has_picture and not _MARKUP.sub("", html).strip()


def _hopeless(html: str, most_chars: int) -> str:
    """Tell what makes some HTML too much, whoever wrote it; empty for nothing."""
    if len(html) > most_chars:
        return f"This HTML is too long to be shown here ({amount(len(html))})."
    is_heavy = html.count("&") > _MOST_REFERENCES or (
        len(html) > _SMALL and max(map(len, html.split("<"))) > _LONGEST_TAG
    )
    if is_heavy or is_too_deep(html):
        return "This HTML is nested too deeply, or its parts are too long, to be shown here."
    return ""


def is_too_deep(html: str) -> bool:
    """Tell HTML of so many elements inside each other that a parser would take minutes."""
    depth, opened = 0, Counter[str]()
    for closing, tag in _TAG.findall(html):
        name, step = tag.lower(), -1 if closing else 1
        if name in _UNNESTED or (closing and not opened[name]):
            continue
        opened[name] += step
        depth += step
        if depth > _DEEPEST:
            return True
    return False
