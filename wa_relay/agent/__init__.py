"""One turn with an ElevenLabs agent: a question in, the agent's answer out.

`turn` decides, `session` carries it over a WebSocket, `gateway` makes the one HTTP call of a gateway.
"""
