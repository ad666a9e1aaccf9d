"""The entry point: the command group, and how errors and interrupts become exit codes.

Belongs here: registering commands, exit codes. Not here: what a command does (its own module).
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

import click

from .. import __version__
from ..errors import FULL, CowrieError, StagingError
from ..reporting.text import ERROR_LENGTH, inert

INTERRUPTED = 3


COMMANDS = {
    "inspect": "inspect",
    "plan": "inspect",
    "migrate": "migrate",
    "demo": "migrate",
    "status": "show",
    "verify": "show",
    "report": "report",
    "quarantine": "show",
    "rules": "rules",
    "export": "export",
    "reset": "maintain",
    "clean": "maintain",
    "psql": "maintain",
    "enrichment": "enrichment",
    "debug": "debug",
    "health": "health",
    "db": "db",
}
"""The module that has each command, imported when it is called: a probe runs `health` often, and Arrow takes 0.4 s."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="cowrie-assets")
def cli() -> None:
    """Migrate a Cowrie processor's SQLite database to PostgreSQL, every row accounted for.

    Settings come from options, then the environment (COWRIE_SQLITE_PATH, COWRIE_POSTGRES_URL, COWRIE_STAGING_URL,
    COWRIE_PARTITION_GRAIN, COWRIE_START_DATE, COWRIE_END_DATE), then sensors.toml, then the embedded PostgreSQL.

    Exit codes: 0 done and nothing differs; 1 a difference or a budget passed; 2 usage, settings, source or target
    cannot be used; 3 interrupted or failed on the way: started again, it continues.
    """


class _Interrupt(KeyboardInterrupt):
    """Not KeyboardInterrupt itself: of that Python remembers where it met an import, and dies of SIGINT at the end."""


_received = False


def _interrupted(signum: int, frame: FrameType | None) -> None:
    global _received
    _received = True
    raise _Interrupt


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """An interrupt that met a finalizer, where nothing can be raised: it is sent again instead of shown."""
    if lost.exc_type is None or issubclass(lost.exc_type, Exception):
        sys.__unraisablehook__(lost)
    elif not sys.is_finalizing():
        again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()


def _known(error: Exception) -> CowrieError | None:
    """The error as a user can use it: also a full disk, or a failing server, wherever a command met it."""
    if isinstance(error, CowrieError):
        return error
    if isinstance(error, OSError) and error.errno in FULL:
        return StagingError(f"The disk is full: {error}.", hint="Free space, then start it again.")
    psycopg = sys.modules.get("psycopg")
    if psycopg and isinstance(error, psycopg.Error):
        from ..loading.failures import translate

        return translate(error, "The target failed")
    return None


def _leave_interrupted() -> NoReturn:
    click.echo("Interrupted. Start it again: what is complete is kept.", err=True)
    sys.exit(INTERRUPTED)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    global _received
    _received = False
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    if arguments is None:
        sys.unraisablehook = _unraisable
    try:
        code = cli.main(args=arguments, prog_name="cowrie-assets", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _leave_interrupted()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except Exception as error:
        if _received:  # what an interrupt leaves half done, such as an import, may fail in any way
            _leave_interrupted()
        known = _known(error)
        if known is None:
            raise
        # A driver's message may quote a cell: nothing in it may steer the terminal.
        click.echo(f"Error: {inert(str(known), ERROR_LENGTH)}", err=True)
        sys.exit(known.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
