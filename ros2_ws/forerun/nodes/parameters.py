"""Parameters with a description, a range and a check; unknown ones in a file are refused by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from forerun_sim.errors import InputError

_OF_RCLPY = ("use_sim_time", "start_type_description_service")
_KINDS = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}


@dataclass(frozen=True)
class Declared:
    """A parameter. The default's type is the parameter's type; ``[]`` and ``[""]`` stand for lists of numbers and of strings,
    ``[]`` and ``whole`` for lists of whole numbers.

    ``bounds`` are inclusive and hold for every entry of a list. ``fixed`` parameters are set at the start only.
    """

    name: str
    default: bool | int | float | str | list[float] | list[str]
    description: str
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    fixed: bool = False
    whole: bool = False

    @property
    def kind(self) -> Parameter.Type:
        """The ROS type."""
        if isinstance(self.default, list):
            texts = bool(self.default) and isinstance(self.default[0], str)
            numbers = Parameter.Type.INTEGER_ARRAY if self.whole else Parameter.Type.DOUBLE_ARRAY
            return Parameter.Type.STRING_ARRAY if texts else numbers
        return _KINDS[type(self.default)]

    def convert(self, value: Any) -> Any:
        """``value`` with the parameter's type; an integer does for a number.

        Raises:
            InputError: another type, out of bounds, or none of the choices; the message names the parameter.
        """
        value = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value
        if self.kind == Parameter.Type.DOUBLE and type(value) is int:
            value = float(value)
        if self.kind == Parameter.Type.DOUBLE_ARRAY and isinstance(value, list) and all(type(v) in (int, float) for v in value):
            value = [float(entry) for entry in value]
        if not self._fits(value):
            kind = self.kind.name.lower().replace("_", " ")
            raise InputError(f"parameter '{self.name}' is {value!r}; it must be of type {kind}")
        entries = value if isinstance(value, list) else [value]
        if self.bounds is not None and not all(self.bounds[0] <= entry <= self.bounds[1] for entry in entries):
            raise InputError(f"parameter '{self.name}' is {value}; allowed is {self.bounds[0]:g} to {self.bounds[1]:g}")
        if self.choices and value not in self.choices:
            raise InputError(f"parameter '{self.name}' is '{value}'; allowed: {', '.join(self.choices)}")
        return value

    def _fits(self, value: Any) -> bool:
        if isinstance(self.default, list):
            kind = {Parameter.Type.STRING_ARRAY: str, Parameter.Type.INTEGER_ARRAY: int}.get(self.kind, float)
            return isinstance(value, list) and all(type(entry) is kind for entry in value)
        return type(value) is type(self.default)

    def descriptor(self) -> ParameterDescriptor:
        """What ``ros2 param describe`` shows."""
        descriptor = ParameterDescriptor(name=self.name, description=self.description, read_only=self.fixed, type=self.kind.value)
        if self.choices:
            descriptor.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.bounds is not None and self.kind in (Parameter.Type.INTEGER, Parameter.Type.INTEGER_ARRAY):
            low, high = (int(bound) for bound in self.bounds)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
        elif self.bounds is not None:
            low_value, high_value = self.bounds
            descriptor.floating_point_range = [FloatingPointRange(from_value=low_value, to_value=high_value)]
        return descriptor


class Parameters:
    """The parameters of a node that was made with ``automatically_declare_parameters_from_overrides=True``.

    rclpy alone ignores names that nobody declared and stops with a traceback when 33 is given for a number with a fraction; here
    both are handled.

    Args:
        node: declares them.
        declared: all that the node has.
        refuse_change: returns why a parameter cannot change now, or an empty text.
        refuse_values: returns why all values together, as they would be after a change, cannot be, or an empty text.
        changed: called with the names that have changed.

    Raises:
        InputError: an unknown name, a wrong type or a value out of range was given.
    """

    def __init__(
        self,
        node: Node,
        declared: Sequence[Declared],
        refuse_change: Callable[[str], str] = lambda name: "",
        refuse_values: Callable[[dict[str, Any]], str] = lambda values: "",
        changed: Callable[[Sequence[str]], None] = lambda names: None,
    ) -> None:
        self._node = node
        self._declared = {entry.name: entry for entry in declared}
        self._refuse_change = refuse_change
        self._refuse_values = refuse_values
        self._changed = changed
        given = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
        builtin = (name for name in given if name in _OF_RCLPY or name.startswith("qos_overrides."))
        unknown = sorted(set(given) - set(self._declared) - set(builtin))
        if unknown:
            known = ", ".join(sorted(self._declared))
            raise InputError(f"unknown parameter '{unknown[0]}' of {node.get_name()}; it has: {known}")
        for name, entry in self._declared.items():
            value = entry.default if name not in given else entry.convert(given[name])
            if name in given:
                node.undeclare_parameter(name)
            self._declare(entry, value)
        node.add_pre_set_parameters_callback(self._convert_all)
        node.add_on_set_parameters_callback(self._check_all)
        node.add_post_set_parameters_callback(lambda parameters: self._changed([parameter.name for parameter in parameters]))

    def __getitem__(self, name: str) -> Any:
        value = self._node.get_parameter(name).value
        entry = self._declared[name]
        if isinstance(entry.default, list):
            return [part for part in value if part != ""]
        return value

    def values(self) -> dict[str, Any]:
        """All of them, by name."""
        return {name: self[name] for name in self._declared}

    def _declare(self, entry: Declared, value: Any) -> None:
        descriptor = entry.descriptor()
        if value != []:
            self._node.declare_parameter(entry.name, value, descriptor, ignore_override=True)
            return
        # rclpy cannot tell the type of an empty list, and takes one only once the type is declared.
        self._node.declare_parameter(entry.name, entry.kind, ParameterDescriptor(), ignore_override=True)
        self._node.set_parameters([Parameter(entry.name, entry.kind, [])])
        self._node.set_descriptor(entry.name, descriptor)

    def _convert_all(self, parameters: list[Parameter]) -> list[Parameter]:
        return [self._converted(parameter) for parameter in parameters]

    def _converted(self, parameter: Parameter) -> Parameter:
        entry = self._declared.get(parameter.name)
        try:
            return parameter if entry is None else Parameter(parameter.name, entry.kind, entry.convert(parameter.value))
        except InputError:
            return parameter  # refused below, with the reason

    def _check_all(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            entry = self._declared.get(parameter.name)
            # rclpy's own, too: use_sim_time would change the clock under a moving robot.
            reason = self._refuse_change(parameter.name)
            try:
                if entry is not None:
                    entry.convert(parameter.value)
            except InputError as error:
                reason = reason or str(error)
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        wanted = {parameter.name: parameter.value for parameter in parameters if parameter.name in self._declared}
        reason = self._refuse_values(self.values() | wanted)
        return SetParametersResult(successful=not reason, reason=reason)
