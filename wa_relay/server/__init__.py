"""The listener: routes that read, verify, parse, hand over to the ledger and answer.

`listener` is the way of every request, `calls`, `webhooks` and `reading` are the routes,
`answers` their replies, `protocol` the connection underneath.
"""
