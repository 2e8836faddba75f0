"""Generated texts on the whole way of a message: webhook, ledger, agent's answer, cut, send."""
