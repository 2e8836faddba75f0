"""Reverse proxies in front of the daemon."""
