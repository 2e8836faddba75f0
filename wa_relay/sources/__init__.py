"""What tells us that a call is over: the backend's push, ElevenLabs' webhook, and the poller. Each ends in a `Call`."""
