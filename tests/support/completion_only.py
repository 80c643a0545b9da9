"""The collator that TRL removed in 0.20, read from the wheel of 0.19.1, which is downloaded once into a folder that git ignores.

TRL 0.19.1 cannot be imported with a current transformers, and does not have to be: only this class is executed.
"""

import ast
import functools
import hashlib
import subprocess
import sys
import typing
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from transformers import DataCollatorForLanguageModeling

CACHE = Path(__file__).parents[2] / ".cache"
WHEEL = CACHE / "trl-0.19.1-py3-none-any.whl"
SHA256 = "8a2d4277b4ba7221eaab545a35ee89b6fbb8721fa3709ac01876a8c1bd7fd78a"


@functools.cache
def removed_class(base=DataCollatorForLanguageModeling):
    """`DataCollatorForCompletionOnlyLM` of TRL 0.19.1; with another `base`, benchmarks time only its masking."""
    if not WHEEL.exists():
        CACHE.mkdir(exist_ok=True)
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(CACHE)]
        subprocess.run([*fetch, "trl==0.19.1"], check=True)
    assert hashlib.sha256(WHEEL.read_bytes()).hexdigest() == SHA256, f"{WHEEL} has an unexpected checksum; delete it"
    tree = ast.parse(zipfile.ZipFile(WHEEL).read("trl/trainer/utils.py"))
    (node,) = (node for node in tree.body if getattr(node, "name", None) == "DataCollatorForCompletionOnlyLM")
    names = {
        "Any": typing.Any,
        "DataCollatorForLanguageModeling": base,
        "Optional": typing.Optional,
        "Union": typing.Union,
        "np": np,
        "torch": torch,
        "warnings": warnings,
    }
    exec(compile(ast.Module([node], []), str(WHEEL), "exec"), names)
    return names[node.name]
