"""Handoff's version, in one place for handshakes, `--version` and packaging."""

VERSION = "0.1.0"
