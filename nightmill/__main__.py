"""The command `nightmill`: the one place that turns errors into text and exit codes.

`nightmill step` starts its engine before anything else is imported, so that both load side by side.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from nightmill.causes import Cause
from nightmill.errors import EXIT_FAILED, EXIT_INTERRUPTED, NightmillError
from nightmill.step.early import Early, begin_early


def main() -> None:
    """Run the command line as a process of its own, and exit.

    A step leaves at once when all is said: Python would take down all that was imported, which is
    a tenth of a short step's time, and would wait for any thread that still waits for a store.
    """
    try:
        code: object = run()
    except SystemExit as ended:
        code = ended.code
    if sys.argv[1:2] == ["step"] and isinstance(code, int):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
    raise SystemExit(code)


def run() -> int:
    """Run the command line; returns an exit code where it does not end by SystemExit."""
    try:
        if sys.argv[1:2] == ["step"]:
            with begin_early() as early:
                _command(early)
        else:
            _command(None)
    except NightmillError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:  # a full disk, a missing right: the machine's fault and not a bug
        _show_traceback()
        place = str(error.filename or "")
        _complain(NightmillError(f"the system refused: {error.strerror or error}", where=place))
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the boundary: a bug gets a report, not a traceback
        return _report_bug(error)
    return 0


def _command(early: Early | None) -> None:
    # Only here and below: what the command line needs takes long to import.
    if early is None:
        from nightmill.cli.app import app  # noqa: PLC0415 - see above
    else:
        from nightmill.cli.step import app  # noqa: PLC0415 - see above
    from nightmill.cli.program import be_lenient  # noqa: PLC0415 - see above

    be_lenient()
    app(prog_name="nightmill", obj=early)


def _complain(error: NightmillError) -> None:
    from nightmill.cli.terminal import complain  # noqa: PLC0415 - see above

    complain(error)


def _show_traceback() -> None:
    if os.environ.get("NIGHTMILL_DEBUG"):
        import traceback  # noqa: PLC0415 - rarely needed

        traceback.print_exc()


def _report_bug(error: Exception) -> int:
    import traceback  # noqa: PLC0415 - rarely needed

    _show_traceback()
    last = traceback.extract_tb(error.__traceback__)[-1]
    _complain(
        NightmillError(
            f"a bug in Nightmill: {type(error).__name__}: {error}",
            where=f"{os.path.basename(last.filename)}:{last.lineno}",  # noqa: PTH119 - text only
            advice="please report it with the traceback that NIGHTMILL_DEBUG=1 shows",
        )
    )
    return Cause.NIGHTMILL_BUG.exit_code


if __name__ == "__main__":
    main()
