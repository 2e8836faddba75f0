"""A daemon's lease on a shared database: how long it holds, and how often it is renewed."""

from __future__ import annotations

LEASE = 10.0
"""Seconds after which a daemon that has not renewed its lease has lost it."""

RENEW_EVERY = 2.0
"""Seconds between two renewals of a lease."""

SEEN_WITHIN = 15.0
"""Seconds for which a daemon is listed after it was last seen."""
