"""One display: the best of its forms, as a library gave them, that needs no scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nightmill.review.render import figures, pictures
from nightmill.review.render.markdown import formula, markdown
from nightmill.review.render.markup import escape, link, note, shortened
from nightmill.review.render.page import Limits
from nightmill.review.render.sanitize import clean
from nightmill.review.render.texts import Amounts, preformatted
from nightmill.review.render.tree import leaf, tree
from nightmill.review.render.widgets import VIEW, Widgets
from nightmill.spec.executed import text_of
from nightmill.spec.words import amount

RASTER = ("image/png", "image/jpeg", "image/gif", "image/webp")
SVG = "image/svg+xml"
HTML = "text/html"
PLAIN = "text/plain"
PDF = "application/pdf"
JSON = "application/json"
_SCRAP = "application/scrapbook.scrap"
_DOLLARS = "$"
_LONGEST_PLACE = 120


@dataclass(frozen=True)
class Place:
    """Where a display stands: a name for its element, words for people, addresses of its forms."""

    identity: str
    words: str
    address: Callable[[str], str] | None
    limits: Limits
    widgets: Widgets

    def amounts(self) -> Amounts:
        """Say how much text is shown here."""
        whole = self.address(PLAIN) if self.address else None
        return Amounts(self.limits.text_chars, self.limits.folded_chars, whole)

    def too_long(self, what: str, size: int, kind: str) -> str:
        """Say that something is left out here, and where it is."""
        told = f"{what} of {amount(size)}"
        if self.address is None:
            return note(f"{told} is left out here: download the notebook to see it.")
        return f'<p class="note">{link(self.address(kind), f"Open {told}")}</p>'


_NOTHING = "<!-- nothing to see -->"
"""What is shown of HTML that is there for its scripts alone, or to be filled by them."""

Bundle = Mapping[str, Any]
Form = Callable[[Bundle, Place], str]
"""Shows a bundle in one of its forms; returns nothing where there is nothing to see."""


def display(bundle: Bundle, place: Place) -> str:
    """Return a bundle of forms as HTML."""
    types = [one for one in bundle if isinstance(one, str)]
    if VIEW in bundle:
        return _widget(bundle, place)
    if kind := figures.kind_of(types):
        still = _first(bundle, place, _PICTURES) or figures.summary(bundle)
        return figures.told(kind) + (still or _first(bundle, place, _TEXT))
    if scrap := next((one for one in types if one.startswith(_SCRAP)), ""):
        return _scrap(bundle[scrap])
    return _first(bundle, place, _FORMS) or _unknown(bundle)


def _first(bundle: Bundle, place: Place, forms: Mapping[str, Form]) -> str:
    for kind, form in forms.items():
        if kind in bundle and (shown := form(bundle, place)):
            return shown
    return ""


def _unknown(bundle: Bundle) -> str:
    """Show the JSON of a type that nobody here knows, or say which types there were."""
    kind, value = next((one for one in bundle.items() if one[0].endswith("+json")), ("", None))
    if kind:
        return note(f"Of type {shortened(kind, 80)}:") + tree(value)
    told = ", ".join(shortened(one, 80) for one in [*bundle][:5])
    return note(f"An output that this page cannot show: {told}.") if told else ""


# -- forms ----------------------------------------------------------------------------------------


def _widget(bundle: Bundle, place: Place) -> str:
    shown = place.widgets.view(bundle[VIEW]) or _first(bundle, place, _STILL)
    return shown + figures.told("interactive widget")


def _html(bundle: Bundle, place: Place) -> str:
    text = text_of(bundle[HTML])
    found = clean(text, place.identity, most_chars=place.limits.rich_chars)
    if found.left_out:
        plain = _plain(bundle, place) if PLAIN in bundle else ""
        return plain + note(found.left_out) + place.too_long("HTML", len(text), HTML)
    if found.is_empty:
        acted = figures.told("interactive output") if found.scripted else ""
        return _first(bundle, place, _STILL) + acted or _NOTHING
    style = " styled" if found.styled else ""
    return f'<div class="html{style}" id="{place.identity}" tabindex="0">{found.whole()}</div>'


def _markdown(bundle: Bundle, place: Place) -> str:
    text = text_of(bundle["text/markdown"])
    return f'<div class="prose">{markdown(text, place.limits.markdown_chars)}</div>' if text else ""


def _latex(bundle: Bundle, place: Place) -> str:
    text = text_of(bundle["text/latex"]).strip()
    if text.startswith("\\begin"):
        return formula(text, block=True)
    if text.startswith(_DOLLARS) and text.endswith(_DOLLARS):
        return formula(text.strip(_DOLLARS).strip(), block=True)
    return f'<div class="prose">{markdown(text, place.limits.markdown_chars)}</div>' if text else ""


def _raster(kind: str) -> Form:
    def form(bundle: Bundle, place: Place) -> str:
        text = text_of(bundle[kind])
        data = pictures.decode(text) if text else None
        if data is None:
            return (
                note(f"A picture ({kind}) that is damaged: it is not encoded in base64.")
                if text
                else ""
            )
        found = pictures.inspect(data)
        if found is None:
            return note(f"This output calls itself {kind}, and is no picture that browsers know.")
        if found.pixels > place.limits.picture_pixels:
            size = f"{found.width:,} by {found.height:,} pixels"
            return note(f"A picture of {size} is not shown: it would take too much memory.")
        return _image(place, data, found.kind, alt=_alt(bundle, place, found))

    return form


def _image(place: Place, data: bytes, kind: str, *, alt: str) -> str:
    is_large = len(data) > place.limits.picture_bytes
    if is_large and place.address:
        source = place.address(kind)
    elif len(data) > place.limits.picture_most_bytes:
        return place.too_long("Picture", len(data), kind)
    else:
        source = pictures.address(data, kind)
    lazy = "" if source.startswith("data:") else ' loading="lazy"'
    return f'<img src="{escape(source)}" alt="{escape(alt)}"{lazy}>'


def _alt(bundle: Bundle, place: Place, found: pictures.Picture) -> str:
    said = shortened(text_of(bundle.get(PLAIN)).strip(" <>\n"), _LONGEST_PLACE)
    size = f"{found.width} by {found.height} pixels"
    return f"Picture, {place.words}: {said or size}"


def _svg(bundle: Bundle, place: Place) -> str:
    text = text_of(bundle[SVG])
    data = pictures.drawing(text)
    if data is None:
        return (
            note("An SVG drawing that is damaged, or that defines entities, is not shown.")
            if text
            else ""
        )
    said = shortened(text_of(bundle.get(PLAIN)).strip(" <>\n"), _LONGEST_PLACE)
    return _image(place, data, SVG, alt=f"Drawing, {place.words}" + (f": {said}" if said else ""))


def _json(bundle: Bundle, _place: Place) -> str:
    return tree(bundle[JSON])


def _pdf(bundle: Bundle, place: Place) -> str:
    size = len(text_of(bundle[PDF])) * 3 // 4  # of what base64 holds
    return place.too_long("PDF", size, PDF)


def _plain(bundle: Bundle, place: Place) -> str:
    value = bundle[PLAIN]
    text = text_of(value) if isinstance(value, str | list) else json.dumps(value)[:10_000]
    return preformatted(text, place.amounts()) if text else ""


def _scrap(scrap: object) -> str:
    """Show what is glued for later: its name and its value."""
    found = scrap if isinstance(scrap, dict) else {}
    name, value = escape(shortened(text_of(found.get("name")), 200)), found.get("data")
    shown = tree(value) if isinstance(value, dict | list) else leaf(value)
    return f'<div class="scrap"><span class="label">{name}</span> {shown}</div>'


_PICTURES: Mapping[str, Form] = {**{kind: _raster(kind) for kind in RASTER}, SVG: _svg}
_TEXT: Mapping[str, Form] = {PLAIN: _plain}
_STILL = {**_PICTURES, **_TEXT}
_FORMS: Mapping[str, Form] = {
    HTML: _html,
    "text/markdown": _markdown,
    "text/latex": _latex,
    SVG: _svg,
    **{kind: _raster(kind) for kind in RASTER},
    PDF: _pdf,
    JSON: _json,
    PLAIN: _plain,
}
