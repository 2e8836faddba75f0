"""What marks a file as wa-relay's: apart from the migrations, so that a reader need not import them."""

APPLICATION_ID = 0x77617231
"""SQLite's `application_id` of every wa-relay database."""

KNOWN_MIGRATIONS = ("m001_relay", "m002_fewer_pages")
"""What this version understands; a file with any other was made by a newer one."""
