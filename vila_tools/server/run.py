"""`vila serve CHECKPOINT`: a checkpoint behind OpenAI's chat completions, for other machines or programs.

By default only this machine can ask; any other address needs --token-file or --generate-token. Images and videos come
as data URLs: nothing is ever fetched. docs/server.md has the whole form.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vila_core.engine.backend import load_backend
from vila_core.errors import ConfigError, MissingDependencyError
from vila_core.files.reading import read_text, require_file
from vila_core.web.access import Access, is_loopback
from vila_core.web.listening import listen_at
from vila_core.web.tokens import named_tokens
from vila_tools.options import add_model_options, tell_precision
from vila_tools.server.limits import Limits

if TYPE_CHECKING:
    from vila_core.engine.torch_backend import TorchBackend
    from vila_tools.server.service import Server

_LIBRARIES = ("fastapi", "prometheus_client", "pydantic", "uvicorn")
_BACKENDS = ("torch", "tensorrt")  # those that write replies token by token
_ENDS = 64 << 10  # bytes at both ends of each file that make a checkpoint's fingerprint


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; the last line is a JSON object of what was answered."""
    args = _parser().parse_args(argv)
    limits = Limits(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Limits)})
    tokens = _tokens(args)
    if (args.tls_cert is None) != (args.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together")
    template = None if args.chat_template is None else _template(args.chat_template)
    for file in (args.tls_cert, args.tls_key):
        if file is not None:
            require_file(file, error=ConfigError)
    make_server = _server_maker()
    with listen_at(args.host, args.port, "the model") as bound:  # before loading, which takes longer
        backend = load_backend(args.backend, args.checkpoint, device=args.device, precision=args.precision)
        try:
            tell_precision(backend.info)
            access = Access(args.host, args.allowed_hosts, tokens)
            fingerprint = fingerprint_of(args.checkpoint)
            server = make_server(cast("TorchBackend", backend), args.name, fingerprint, access, limits, template)
            tls = (args.tls_cert, args.tls_key) if args.tls_cert else None
            print(_address(args.host, bound.getsockname()[1], "https" if tls else "http"), flush=True)
            if args.generate_token:
                print(f"token: {next(iter(tokens.values()))}", flush=True)
            logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
            began_s = time.monotonic()
            try:
                server.serve(bound, tls)
            finally:  # a signal ends it
                seconds = round(time.monotonic() - began_s, 1)
                print(json.dumps({"model": server.model.name, "seconds": seconds, "requests": server.counts()}))
        finally:
            backend.close()
    return 0


def fingerprint_of(checkpoint: Path) -> str:
    """Return a short hash of the names, sizes and both ends of a checkpoint's files: another model has another one."""
    digest = hashlib.sha256()
    for file in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(checkpoint)} {size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_ENDS))
            stream.seek(max(0, size - _ENDS))
            digest.update(stream.read(_ENDS))
    return f"fp_{digest.hexdigest()[:16]}"


def _tokens(args: argparse.Namespace) -> dict[str, str]:
    if args.token_file is not None and args.generate_token:
        raise ConfigError("--token-file and --generate-token are both given: leave one out")
    if args.generate_token:
        return {"generated": secrets.token_urlsafe(24)}
    if args.token_file is not None:
        return named_tokens(args.token_file)
    if not is_loopback(args.host):
        raise ConfigError(
            f"--host {args.host} lets other machines ask: give --token-file or --generate-token, or leave --host at"
            " 127.0.0.1 and use ssh -L"
        )
    return {}


def _template(file: Path) -> str:
    text = read_text(file, error=ConfigError)
    if "{{" not in text and "{%" not in text:
        raise ConfigError(f"{file} holds no Jinja: no chat template")
    return text


def _server_maker() -> type[Server]:
    try:
        from vila_tools.server.service import Server
    except ModuleNotFoundError as err:
        if err.name not in _LIBRARIES:
            raise
        message = f"serving needs {err.name!r}, which is not installed; run `pip install 'vila-nav[server]'`"
        raise MissingDependencyError(message) from err
    return Server


def _address(host: str, port: int, scheme: str) -> str:
    return f"serving at {scheme}://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila serve", description=__doc__, allow_abbrev=False)
    add_model_options(parser)
    parser.add_argument("--backend", choices=_BACKENDS, default="torch", help="default: %(default)s")
    parser.add_argument("--name", default="", help="of the model, for requests (default: the checkpoint's)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0: one that is free (default: %(default)s)")
    parser.add_argument("--token-file", type=Path, help="a line `TOKEN` or `NAME TOKEN` for each client")
    parser.add_argument("--generate-token", action="store_true", help="make one, and print it")
    parser.add_argument("--allowed-hosts", default="", help="more names of this machine, comma separated")
    parser.add_argument("--tls-cert", type=Path, help="certificate, as PEM")
    parser.add_argument("--tls-key", type=Path, help="its key, as PEM")
    parser.add_argument("--chat-template", type=Path, help="a file of Jinja, in place of the checkpoint's")
    for field in dataclasses.fields(Limits):
        kind = type(field.default)
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=kind, default=field.default, help="default: %(default)s")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to 65535")
    return int(text)
