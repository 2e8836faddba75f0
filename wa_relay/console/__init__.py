"""The console: web pages on which the team reads conversations, takes them over and answers.

`login` and `sessions` say who it is, `pages` and the modules beside it make the pages, `site` puts them together. What
a page changes goes through the routes of the API, which check the session's role; no page bypasses them.
Imported only if `console.enabled` is set.
"""
