"""wa-relay: continues on WhatsApp the conversation that an ElevenLabs voice agent began by phone."""

__version__ = "0.1.0"
