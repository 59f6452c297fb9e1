"""The YAML that configurations are written in: scalars of YAML 1.2, no key twice."""

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
# What the YAML 1.2 core schema takes for something other than text, with its first characters.
_PLAIN_SCALARS = {
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"^[-+]?[0-9]+$", "-+0123456789"),
    "float": (
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    "null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "merge": (r"^<<$", "<"),
}


class Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: ``off`` and dates stay text, ``1e-3`` is a number; no repeated keys."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401
        """Compose a mapping, refusing a key that is given twice."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node


class Dumper(yaml.SafeDumper):
    """Quotes all text that YAML 1.1 or 1.2 would read as something else; lists on one line."""


for _name, (_pattern, _first) in _PLAIN_SCALARS.items():
    Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))
    Dumper.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))
# PyYAML's own constructor would read 010 as octal.
Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value))
Dumper.add_representer(
    list, lambda dumper, value: dumper.represent_sequence(_TAG + "seq", value, flow_style=True)
)
