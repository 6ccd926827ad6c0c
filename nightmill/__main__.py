"""The command `nightmill`: the one place that turns errors into text and exit codes."""

from __future__ import annotations

import os
import sys
import traceback

from nightmill.causes import Cause
from nightmill.cli.app import app
from nightmill.cli.terminal import be_lenient, complain
from nightmill.errors import EXIT_FAILED, EXIT_INTERRUPTED, NightmillError


def main() -> None:
    """Run the command line and exit."""
    sys.exit(_run())


def _run() -> int:
    be_lenient()
    try:
        app(prog_name="nightmill")
    except NightmillError as error:
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:  # a full disk, a missing right: the machine's fault and not a bug
        _show_traceback()
        place = str(error.filename or "")
        complain(NightmillError(f"the system refused: {error.strerror or error}", where=place))
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the boundary: a bug gets a report, not a traceback
        return _report_bug(error)
    return 0


def _show_traceback() -> None:
    if os.environ.get("NIGHTMILL_DEBUG"):
        traceback.print_exc()


def _report_bug(error: Exception) -> int:
    _show_traceback()
    last = traceback.extract_tb(error.__traceback__)[-1]
    complain(
        NightmillError(
            f"a bug in Nightmill: {type(error).__name__}: {error}",
            where=f"{os.path.basename(last.filename)}:{last.lineno}",  # noqa: PTH119 - text only
            advice="please report it with the traceback that NIGHTMILL_DEBUG=1 shows",
        )
    )
    return Cause.NIGHTMILL_BUG.exit_code


if __name__ == "__main__":
    main()
