"""The sources of calls: the backend's push, ElevenLabs' webhook, and the poller. Each ends in a `Call`."""
