"""Sets and describes a node's parameters over DDS, as `ros2 param` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter


class ParameterClient(Node):
    """A stranger on the graph; whoever makes it has it spun."""

    def __init__(self, node: str, wait_until: Callable[..., float]) -> None:
        super().__init__(f"client_of_{node}")
        self._wait_until = wait_until
        self._setting = self.create_client(SetParametersAtomically, f"{node}/set_parameters_atomically")
        self._getting = self.create_client(GetParameters, f"{node}/get_parameters")
        self._describing = self.create_client(DescribeParameters, f"{node}/describe_parameters")

    def set(self, values: dict[str, Any]) -> SetParametersResult:
        """Set these together."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return self._call(self._setting, SetParametersAtomically.Request(parameters=parameters)).result

    def get(self, name: str) -> Any:
        values = self._call(self._getting, GetParameters.Request(names=[name])).values
        return Parameter.from_parameter_msg(_named(name, values[0])).value

    def describe(self, *names: str) -> list[ParameterDescriptor]:
        return self._call(self._describing, DescribeParameters.Request(names=list(names))).descriptors

    def _call(self, client: Any, request: Any) -> Any:
        self._wait_until(client.service_is_ready, client.srv_name)
        future = client.call_async(request)
        self._wait_until(future.done, client.srv_name)
        return future.result()


def _named(name: str, value: Any) -> Any:
    message = Parameter(name).to_parameter_msg()
    message.value = value
    return message
