"""The background loops: find calls, ask the agent, send, and find out what nobody reported."""
