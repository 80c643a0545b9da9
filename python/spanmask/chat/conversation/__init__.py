"""Rows of chat data in one form, whatever their columns: `conversations_of` reads them."""

from spanmask.chat.conversation.layouts import Layout, layout_of, row_name
from spanmask.chat.conversation.read import Conversation, conversations_of

__all__ = ["Conversation", "Layout", "conversations_of", "layout_of", "row_name"]
