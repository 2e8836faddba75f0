"""`wa-relay export`: everything that is stored about a customer."""

from __future__ import annotations

import html
import json
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from wa_relay.cli.open_reader import read_customer
from wa_relay.cli.options import Options
from wa_relay.cli.output import write_document, write_file
from wa_relay.cli.phones import Phone
from wa_relay.reports.export import Export
from wa_relay.reports.export import export as export_customer

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin-bottom:1.5rem}td,th{border:1px solid #ccc;padding:.3rem .5rem;"
    "text-align:left;vertical-align:top;overflow-wrap:anywhere}"
)


class Format(StrEnum):
    """The formats of the data."""

    json = "json"
    html = "html"


def export(
    ctx: typer.Context,
    phone: Phone,
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.json,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to a file that only you can read.")
    ] = None,
) -> None:
    """Print everything that is stored about a customer, for the customer's right to know it."""
    options: Options = ctx.obj
    now = time.time()
    _, _, found = read_customer(options, phone, lambda _config, db, number: export_customer(db, number, now))
    text = _page(found) if form is Format.html else json.dumps(found.to_json(), ensure_ascii=False, indent=2) + "\n"
    if output is None:
        write_document(text)
        return
    old_umask = os.umask(0o077)
    try:
        write_file(output, text)
        output.chmod(0o600)
    finally:
        os.umask(old_umask)


def _page(found: Export) -> str:
    """One HTML file that needs nothing else, in Spanish: the customer reads it."""
    sections = "".join(_section(name, rows) for name, rows in found.stored.items() if rows)
    decisions = _section("decisions", found.decisions) if found.decisions else ""
    return (
        '<!doctype html><html lang="es"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(found.phone)}</title><style>{STYLE}</style>"
        f"<h1>Datos guardados de {html.escape(found.phone)}</h1>"
        "<p>Las horas son segundos desde 1970 (UTC); los archivos van en base64.</p>"
        f"{sections}{decisions}</html>\n"
    )


TITLES = {
    "conversation": "Conversación",
    "addresses": "Números e identificadores",
    "calls": "Llamadas",
    "messages": "Mensajes",
    "turns": "Preguntas al agente",
    "receipts": "Acuses de entrega",
    "alerts": "Alertas",
    "media": "Archivos",
    "audit": "Registro de acciones del equipo",
    "opt_outs": "Bajas",
    "strangers": "Mensajes sin conversación",
    "decisions": "Decisiones",
}


def _section(name: str, rows: list[dict[str, Any]]) -> str:
    body = "".join(_rows(row) for row in rows)
    return f"<h2>{TITLES.get(name, name)}</h2>{body}"


def _rows(row: dict[str, Any]) -> str:
    cells = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in row.items()
        if value is not None
    )
    return f"<table>{cells}</table>"
