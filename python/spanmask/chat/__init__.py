"""Chat formats: how turns open and close, written by hand or derived from a template."""

from spanmask.chat.boundary import RoleBoundary
from spanmask.chat.format import ChatFormat
from spanmask.chat.strings import ids_in_context, policy_with_ids

__all__ = ["ChatFormat", "RoleBoundary", "ids_in_context", "policy_with_ids"]
