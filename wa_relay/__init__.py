"""wa-relay: goes on in WhatsApp with the talk that an ElevenLabs voice agent began by phone."""

__version__ = "0.1.0"
