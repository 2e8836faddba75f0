"""The database: one SQLite file, one connection that writes, one thread that owns it.

`file` opens it, `schema` shapes it, `lock` keeps a second daemon away, `writer_thread` is the one
asynchronous door. `calls`, `inbox`, `turns`, `outbox`, `receipts` and `operator_decisions` are what can
be done with it: synchronous functions that take the `Ledger` and run inside one transaction.
"""
