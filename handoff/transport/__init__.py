"""Sockets: TLS links that carry messages, and sessions that survive reconnects."""
