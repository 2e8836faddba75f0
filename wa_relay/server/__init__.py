"""The listener: routes that read, verify, parse, hand over to the ledger and answer.

`listener` is the way of every request, `calls`, `webhooks` and `read_routes` are among the routes,
`answers` their replies, `protocol` the connection underneath.
"""
