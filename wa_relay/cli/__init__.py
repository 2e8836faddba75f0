"""The command line: one small module a command; the only place that prints and exits."""


def main() -> None:
    """Runs a command and ends the process with its exit code."""
    from wa_relay.cli.app import run

    run()
