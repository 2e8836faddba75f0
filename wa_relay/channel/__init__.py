"""WhatsApp through Twilio: `twilio` asks the service, `inbound` reads what it posts, `errors` its codes."""
