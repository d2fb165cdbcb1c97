"""The oracle: a second, dumber implementation of the language, which judges the core.

It shares no code with the core and never runs it. `language` is spec 1.1 to 1.7, `sugar` is 1.8,
`catalog`, `config` and `run` are 2.2 to 2.4, `flow` is 2.6, `transport` reads what JSON cannot say,
`cases` observes a conformance case.
"""

from .cases import KINDS, observe_case, text
from .transport import decode, encode

__all__ = ["KINDS", "decode", "encode", "observe_case", "text"]
