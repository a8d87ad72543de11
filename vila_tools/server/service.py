"""A loaded model and its web server, from `serve` to the end."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import uvicorn

from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import ConfigError
from vila_core.prompts.conversation import render_conversation, stop_texts
from vila_core.web.access import Access
from vila_core.web.guard import READING, Guard
from vila_tools.server.answers import ServedModel
from vila_tools.server.app import Service, make_app
from vila_tools.server.chat_prompt import PromptReader
from vila_tools.server.limits import Limits
from vila_tools.server.metrics import Metrics
from vila_tools.server.pictures import MediaReader, PictureStore
from vila_tools.server.slow_clients import impatient_protocol
from vila_tools.server.worker import Worker

_MOST_CONNECTIONS = 512
_MOST_HEAD_BYTES = 64 << 10


class Server:
    """Serves one backend. name: for requests, empty for the checkpoint's. template: Jinja, None for the checkpoint's.

    Raises ConfigError for a template that does not render.
    """

    def __init__(
        self,
        backend: TorchBackend,
        name: str,
        fingerprint: str,
        access: Access,
        limits: Limits,
        template: str | None = None,
    ) -> None:
        config, info = backend.model.config, backend.info
        used = template or info.chat_template
        render_conversation(used, ["question"])
        stop_texts(used)
        self.model = ServedModel(name or info.name, info, fingerprint, int(time.time()))
        self.metrics = Metrics()
        self._limits, self._access = limits, access
        self.worker = Worker(backend, lambda task: self.metrics.wait.observe(task.waited_s or 0.0))
        store = PictureStore(limits.kept_pictures_mb << 20)
        reader = PromptReader(config, used, MediaReader(store, limits), limits)
        self.app = make_app(Service(self.model, access, limits, reader, self.worker, self.metrics))
        gauge, cache, prefixes = self.metrics.gauge, backend.visual_cache, backend.decoder
        gauge("vila_visual_cache_hits", "Pictures whose visual tokens were there", lambda: cache.hits)
        gauge("vila_visual_cache_misses", "Pictures that were encoded", lambda: cache.misses)
        gauge("vila_prefix_reused_tokens", "Tokens whose keys were there", lambda: prefixes.prefixes.reused)
        gauge("vila_prefix_computed_tokens", "Tokens that were prefilled", lambda: prefixes.prefixes.prefilled)
        gauge("vila_kept_picture_bytes", "Pictures that requests may name", lambda: store.bytes)

    @property
    def guarded(self) -> Guard:
        """The application behind its guard, for a web server of another kind; `worker.start()` comes first."""
        return Guard(self.app, self._access, (*READING, "POST"))

    def serve(self, bound: socket.socket, tls: tuple[Path, Path] | None = None) -> None:
        """Serve until a signal ends it, which is raised again."""
        server = self.web_server(tls)
        self.worker.start()
        try:
            asyncio.run(server.serve(sockets=[bound]))
        finally:
            self.worker.stop()

    def web_server(self, tls: tuple[Path, Path] | None = None) -> uvicorn.Server:
        """Return the web server, which `serve(sockets=...)` runs. Raises ConfigError for a certificate of no use."""
        config = uvicorn.Config(
            self.guarded,  # type: ignore[arg-type]
            lifespan="off",
            http=impatient_protocol(self._limits.stall_timeout_s),
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
            ssl_certfile=None if tls is None else str(tls[0]),
            ssl_keyfile=None if tls is None else str(tls[1]),
        )
        try:
            config.load()
        except (OSError, ValueError) as err:  # of the certificate
            raise ConfigError(f"the certificate cannot be used: {err}") from err
        return uvicorn.Server(config)

    def counts(self) -> dict[str, int]:
        """Return the number of requests by status."""
        samples = (sample for metric in self.metrics.requests.collect() for sample in metric.samples)
        return {sample.labels["status"]: int(sample.value) for sample in samples if sample.name.endswith("_total")}
