"""Chat formats: how turns open and close, written by hand or derived from a template."""

from spanmask.chat.format import ChatFormat, RoleBoundary

__all__ = ["ChatFormat", "RoleBoundary"]
