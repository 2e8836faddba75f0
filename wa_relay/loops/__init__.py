"""The loops: hear of calls, ask the agent, send, and find out what nobody reported."""
