"""ElevenLabs over REST: one client, the shapes of its answers, what a refusal means, and signed session URLs."""
