"""`llm-policy fmt`: a config, its profiles' terms, or a term, in canonical text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_policy_host.config.canonical import FORMATS, canonical, comments_of, lost
from llm_policy_host.errors import UsageError
from llm_policy_host.wiring import Host

from .commit import profile_name
from .contracts import reason
from .output import FAILED, OK, add_json, print_json, warn
from .subjects import A_TERM, Named, is_term, profile_names, read, read_text

if TYPE_CHECKING:
    import argparse

    from llm_policy_host.config.comments import Comments

    from .output import Commands


_FORMS = {".json": "json", ".lua": "lua"}


def add(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("fmt", help="write a config or a term in canonical text")
    parser.add_argument("file", metavar="FILE", help=f"a config, YAML or Lua; or {A_TERM}")
    parser.add_argument("--to", choices=FORMATS, metavar="FORMAT", help="yaml, lua or json (as the file is)")
    parser.add_argument(
        "-p", "--profile", metavar="NAME", help="only the term of this profile, in normal form"
    )
    parser.add_argument("--terms", action="store_true", help="each profile as its term, in normal form")
    parser.add_argument(
        "-c", "--config", metavar="CONFIG", help="whose fields, params and tiers a term may name"
    )
    parser.add_argument(
        "--check", action="store_true", help="only say whether the file is so: exit code 1 if not"
    )
    parser.add_argument("--write", action="store_true", help="write the file anew, in place")
    parser.add_argument(
        "--force", action="store_true", help="with --write: though a comment or a program is lost"
    )
    add_json(parser)
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace) -> int:
    """Write, check or print."""
    form = arguments.to or _form(arguments)
    _refuse_nonsense(arguments, form)
    data, comments = _term(arguments) if is_term(arguments.file) else _config(arguments)
    text = canonical(data, form, comments)
    missing = [] if comments is None else comments.texts() if form != "yaml" else lost(text, comments)
    if arguments.check:
        return _check(arguments, text)
    if arguments.write:
        return _write(arguments, text, missing)
    for each in missing:
        warn(f"left out: {each}")
    if arguments.json:
        print_json({"ok": True, "format": form, "text": text, "left_out": missing})
    else:
        print(text, end="")
    return OK


def _form(arguments: argparse.Namespace) -> str:
    if arguments.profile is not None:
        return "json"
    return _FORMS.get(Path(arguments.file).suffix, "json" if arguments.file == "-" else "yaml")


def _refuse_nonsense(arguments: argparse.Namespace, form: str) -> None:
    is_in_place = arguments.check or arguments.write
    if arguments.check and arguments.write:
        raise UsageError("either --check or --write")
    if is_in_place and (arguments.profile is not None or arguments.file == "-"):
        raise UsageError("--check and --write are for whole files")
    if is_in_place and form != _form(arguments):
        raise UsageError(f"`{arguments.file}` is no {form}: print it, without --check and --write")


def _term(arguments: argparse.Namespace) -> tuple[Any, None]:
    schema = {} if arguments.config is None else Named("", Host.from_config(arguments.config)).schema
    return read(Named(arguments.file), schema).term, None


def _config(arguments: argparse.Namespace) -> tuple[Any, Comments | None]:
    host = Host.from_config(arguments.file)
    if arguments.profile is not None:
        return _profile_term(host, arguments.file, profile_name(host, arguments.profile)), None
    document = host.config.document
    if document.child is not None:
        raise UsageError(f"`{arguments.file}` holds functions, which have no text")
    data = document.data
    if arguments.terms:
        terms = {
            name: {"policy_ir": _profile_term(host, arguments.file, name)} for name in profile_names(host)
        }
        data = {**data, "profiles": terms}
    is_yaml = not arguments.file.endswith(".lua")
    return data, comments_of(_read(arguments.file), document) if is_yaml else None


def _profile_term(host: Host, file: str, name: str) -> Any:  # noqa: ANN401 - a term
    """Give a profile's own term: the envelope is the config's, and stays beside it."""
    return read(Named(f"{file}#{name}", host, name), has_envelope=False).term


def _check(arguments: argparse.Namespace, text: str) -> int:
    is_so = _read(arguments.file) == text
    if arguments.json:
        print_json({"ok": is_so})
    elif not is_so:
        print(f"{arguments.file}: not canonical")
    return OK if is_so else FAILED


def _write(arguments: argparse.Namespace, text: str, missing: list[str]) -> int:
    if arguments.file.endswith(".lua") and not arguments.force:
        raise UsageError(
            f"`{arguments.file}` is a program, of which only its value would be left: say --force"
        )
    if missing and not arguments.force:
        raise UsageError(f"{len(missing)} comments would be lost, the first is `{missing[0]}`: say --force")
    is_new = _read(arguments.file) != text
    if is_new:
        try:
            Path(arguments.file).write_bytes(text.encode(errors="surrogateescape"))
        except OSError as error:
            raise UsageError(f"`{arguments.file}` cannot be written: {reason(error)}") from None
    if arguments.json:
        print_json({"ok": True, "written": is_new})
    elif is_new:
        print(f"{arguments.file}: written")
    return OK


def _read(name: str) -> str:
    return read_text(name).decode("utf-8-sig", errors="surrogateescape")
