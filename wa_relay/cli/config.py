"""`wa-relay config`: the file in use, the values in force, and their faults."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wa_relay.cli.options import Options
from wa_relay.cli.output import results, write_document
from wa_relay.config import ConfigError, Fault, discover
from wa_relay.config.checks import sample_values
from wa_relay.config.effective_values import Setting, settings_of
from wa_relay.config.loader import Loaded, read


class Action(StrEnum):
    """The actions on the configuration."""

    check = "check"
    show = "show"
    path = "path"


def config(
    ctx: typer.Context,
    action: Annotated[
        Action,
        typer.Argument(metavar="check|show|path", help="List its faults, list every key, or print the file's path."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the configuration, or show what is in force and where it was set.

    `check` also lists what `serve` needs, and exits with 78 if anything is wrong or missing. Secrets are never printed.
    """
    options: Options = ctx.obj
    if action is Action.path:
        _print_path(options, as_json=as_json)
    elif action is Action.check:
        _check(_read(options, serving=True), as_json=as_json)
    else:
        _show(_read(options), options, as_json=as_json)


def _read(options: Options, *, serving: bool = False) -> Loaded:
    cwd = Path.cwd()
    return read(discover(options.config_path, os.environ, cwd), os.environ, cwd=cwd, serving=serving)


def _print_path(options: Options, *, as_json: bool) -> None:
    path = discover(options.config_path, os.environ, Path.cwd())
    if path is None:
        raise ConfigError([Fault("configuration", "", "there is no file: `wa-relay init` writes one")])
    if not path.is_file():
        raise ConfigError([Fault(str(path), "", "there is no such file: `wa-relay init` writes one")])
    if as_json:
        write_document(json.dumps({"path": str(path)}, ensure_ascii=False) + "\n")
    else:
        typer.echo(path)


def _check(loaded: Loaded, *, as_json: bool) -> None:
    if as_json:
        faults = [asdict(fault) for fault in loaded.faults]
        write_document(json.dumps(faults, ensure_ascii=False, indent=2) + "\n")
    else:
        for fault in loaded.faults:
            typer.echo(fault)
        if not loaded.faults:
            typer.echo(f"{loaded.config.path or 'the environment'} has all that serve needs")
        for warning in (*loaded.config.warnings, *sample_values(loaded.config)):
            typer.echo(f"warning: {warning}", err=True)
    if loaded.faults:
        raise typer.Exit(78)


def _show(loaded: Loaded, options: Options, *, as_json: bool) -> None:
    settings = settings_of(loaded)
    if as_json:
        write_document(json.dumps([asdict(each) for each in settings], ensure_ascii=False, indent=2) + "\n")
    else:
        paper = results(no_color=options.no_color)
        for line in map(_line, settings):
            paper.console.print(paper.clean(line), soft_wrap=True)
    if loaded.faults:
        raise ConfigError(loaded.faults)


def _line(setting: Setting) -> str:
    """Returns a line in TOML, unless its value is not shown."""
    value = "(not shown)" if setting.value is None else json.dumps(setting.value, ensure_ascii=False)
    return f"{setting.key} = {value}  # {setting.where or setting.source}"
