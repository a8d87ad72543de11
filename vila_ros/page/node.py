"""The page: a browser's view of the robot, and its commands. The robot does not depend on it.

It only subscribes, calls the public actions and services of the navigator, and presses the governor's emergency stop.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from rclpy.node import Node
from rclpy.parameter import Parameter

from vila_core.errors import ConfigError, FrameError, MissingDependencyError
from vila_core.web.access import Access
from vila_ros.common.node_main import run_node
from vila_ros.common.parameters import declare, read, refuse_unknown
from vila_ros.page.board import Board
from vila_ros.page.camera import PageCamera
from vila_ros.page.commands import Commands
from vila_ros.page.config import PageConfig, read_token
from vila_ros.page.deadman import Deadman
from vila_ros.page.emergency import Emergency
from vila_ros.page.explainer import PACKAGE as EXPLAINS
from vila_ros.page.explainer import Explainer
from vila_ros.page.listener import Listener
from vila_ros.page.pictures import Pictures

_WARN_EVERY_S = 5.0


class PageNode(Node):
    """Hears the robot from its making on; `serve` shows it to browsers."""

    def __init__(self, parameter_overrides: Sequence[Parameter] = ()) -> None:
        self._is_made = False  # it may be destroyed before
        super().__init__("page", parameter_overrides=list(parameter_overrides))
        refuse_unknown(self, declare(self, PageConfig))
        self.config = read(self, PageConfig)
        self.board, self.pictures = Board(), Pictures()
        self._commands = Commands(self, self.board)
        self._listener = Listener(self, self.board, self.pictures, self.config, self._commands.forget_queries)
        self._deadman = Deadman(self.config.deadman_timeout_s)
        self._emergency = Emergency(self, self.board, self._listener, self._deadman)
        self.board.put("robot", {"name": self.get_namespace().strip("/")})
        self._explainer = self._make_explainer() if self.config.explain else None
        self.board.put("explains", self.config.explain)
        self._camera = PageCamera(self, self.config, self.pictures, self._on_bad_image)
        self._server: object | None = None
        self._is_made = True

    def serve(self) -> None:
        """Serve the page, and tell its address.

        Raises ConfigError for a token that cannot be used and for an address that is taken, MissingDependencyError
        without the libraries of the extra `page`.
        """
        token = read_token(self.config)
        try:
            from vila_ros.page.server import PageServer, Site
        except ModuleNotFoundError as err:
            raise _missing(err.name or "a library") from err
        if find_spec("websockets") is None:  # uvicorn would serve without it, and refuse sockets
            raise _missing("websockets")
        access = Access(self.config.host, self.config.allowed_hosts, {"page": token} if token else {})
        site = Site(
            self.config,
            access,
            self.board,
            self.pictures,
            self._commands,
            self._emergency,
            self._deadman,
            self._status,
            self._explainer,
        )
        server = PageServer(site)
        self._server = server
        server.start()
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        secret = f"#token={token}" if self.config.generate_token else ""
        self.get_logger().info(f"the page is at http://{host}:{server.port}/{secret}")

    def _make_explainer(self) -> Explainer:
        if find_spec(EXPLAINS) is None:
            raise ConfigError(
                f"explain is true, and {EXPLAINS} is not installed here: install it, or leave explain out"
            )
        return Explainer(self.board, self.pictures)

    def destroy_node(self) -> None:
        """End the page, then leave the graph; who holds the robot by it stops it."""
        if self._is_made:
            self._close()
        super().destroy_node()

    def _close(self) -> None:
        self._is_made = False
        self._emergency.close()
        if self._server is not None:
            self._server.stop()  # type: ignore[attr-defined]
            self._server = None
        if self._explainer is not None:
            self._explainer.close()
        self._camera.stop()
        self._commands.destroy()

    def _status(self) -> dict[str, object]:
        """What stands in each update: the robot's time, and for how long each of its nodes has said nothing."""
        return {"now_s": self.get_clock().now().nanoseconds / 1e9, "silent_s": self._listener.silent_s()}

    def _on_bad_image(self, error: FrameError) -> None:
        self.get_logger().warning(f"no picture: {error}", throttle_duration_sec=_WARN_EVERY_S)


def _missing(library: str) -> MissingDependencyError:
    return MissingDependencyError(f"the page needs {library!r}, which is not installed; run `pip install '.[page]'`")


def make_node() -> Node:
    """Make the node, and serve."""
    node = PageNode()
    try:
        node.serve()
    except BaseException:
        node.destroy_node()
        raise
    return node


def main() -> int:
    """Serve the page until told to end."""
    return run_node(make_node, "page")


if __name__ == "__main__":
    sys.exit(main())
