"""Rows of chat data in one form, whatever their columns: `conversations_of` reads them, `adapt` fits them to a chat template."""

from spanmask.chat.conversation.adapt import MessageForms, adapt
from spanmask.chat.conversation.layouts import Layout, entries, layout_of, row_name
from spanmask.chat.conversation.media_text import split_media_text
from spanmask.chat.conversation.read import Conversation, conversations_of

__all__ = [
    "Conversation",
    "Layout",
    "MessageForms",
    "adapt",
    "conversations_of",
    "entries",
    "layout_of",
    "row_name",
    "split_media_text",
]
