"""The background loops: find calls, ask the agent, send, and ask for reports that did not come."""
