"""The read side: the outcome of the calls, read from the database beside its writer.

Every function takes a connection from `ledger.file.open_for_reading` and answers with frozen
values that know their JSON. `conversation` is one customer's thread, `stats_queries` the report,
`spans` the time it is about, `awaiting_operator` what waits for an operator.

Nothing is imported here: a command loads only the modules of its own report.
"""
