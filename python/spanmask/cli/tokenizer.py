"""The tokenizer that a command was given: a saved folder, or a `tokenizer.json`. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from spanmask.errors import DataError

__all__ = ["load_tokenizer", "tokenizer_hash"]


def load_tokenizer(path: Path, chat_template: Path | None = None, *, renders: bool = True) -> Any:
    """Load a tokenizer.

    Args:
        path: a folder that `save_pretrained` wrote, or a `tokenizer.json`.
        chat_template: a file with a chat template, instead of the tokenizer's own.
        renders: its chat template will be used.

    Raises:
        DataError: there is no tokenizer, or it cannot be loaded.
        ImportError: a package of the extra `cli` is missing.
    """
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
    except ModuleNotFoundError as error:
        raise ImportError(f"a tokenizer needs {error.name}; install it with: pip install 'spanmask[cli]'") from error

    if not path.exists():
        raise DataError(f"{path}: no such folder or file; pass a folder that save_pretrained wrote, or a tokenizer.json.")
    try:
        if path.is_dir():
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        else:
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
    except Exception as error:  # loading may raise anything
        raise DataError(f"{path}: is not a tokenizer that can be loaded ({type(error).__name__}: {error}).") from error
    if chat_template is not None:
        try:
            tokenizer.chat_template = chat_template.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{chat_template}: cannot be read ({error}).") from error
    if renders and tokenizer.chat_template is not None:
        try:
            import jinja2  # noqa: F401
        except ImportError as error:  # said once, instead of about each row
            raise ImportError("a chat template needs jinja2; install it with: pip install 'spanmask[cli]'") from error
    return tokenizer


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of everything that decides ids and rendering: vocabulary, added tokens, template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(f"{state}\n{tokenizer.chat_template!r}\n{tokenizer.special_tokens_map!r}".encode()).hexdigest()[:16]
