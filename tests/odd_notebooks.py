"""The corpus of notebooks that were made to be odd or to do harm, and what a page of each shows.

Whatever a notebook is, its page must be inert: the tests that use this table see to that for all
alike. Real outputs of libraries are files in the folder of the same name; they end in .json, since
whatever ends in .ipynb is a source here, and loses its outputs.
"""

from __future__ import annotations

from tests.odd_broken import BROKEN, LARGE
from tests.odd_hostile import FORMULAS, HOSTILE
from tests.odd_realistic import PEOPLE, REALISTIC

ODD = (*REALISTIC, *FORMULAS, *HOSTILE, *BROKEN, *LARGE, *PEOPLE)
