"""What an exit code alone tells of a step."""

from __future__ import annotations

import pytest

from nightmill.causes import Cause
from nightmill.errors import EXIT_INTERRUPTED, EXIT_USAGE


@pytest.mark.parametrize("cause", Cause)
def test_the_exit_code_of_a_cause_leads_back_to_it(cause):
    """A step that says its cause by its exit code alone is understood."""
    assert Cause.of_exit_code(cause.exit_code) is cause


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (1, Cause.NIGHTMILL_BUG),
        (9, Cause.NIGHTMILL_BUG),
        (10 + len(Cause), Cause.NIGHTMILL_BUG),
        (128, Cause.NIGHTMILL_BUG),
        (EXIT_USAGE, Cause.BAD_PARAMETERS),
        (EXIT_INTERRUPTED, Cause.TERMINATED),
        (137, Cause.TERMINATED),
        (143, Cause.TERMINATED),
        (-9, Cause.TERMINATED),
    ],
)
def test_what_an_exit_code_means_that_is_no_causes(code, cause):
    """Signals ended it, as Python, shells and containers say it; wrong usage; or a bug of ours."""
    assert Cause.of_exit_code(code) is cause
